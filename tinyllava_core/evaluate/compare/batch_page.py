"""Lay out what batch.py found: lines of text, JSON, and one page of HTML that needs nothing else."""

from __future__ import annotations

import dataclasses
import html
import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tinyllava_core.evaluate.compare.batch import Batch

HEAD = ("model", "score", "95 % interval", "error", "unparsed", "n")
PAIRS = ("first", "second", "difference", "95 % interval", "p", "p (Holm)", "verdict")
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child,td:nth-last-child(1){text-align:left}"
)
_SHOWN = 200  # flagged questions on the page


def model_rows(batch: Batch) -> list[tuple[str, ...]]:
    """Give a row for each model, best first."""
    found: list[tuple[str, ...]] = []
    for model, told in batch.told.items():
        one = told.scored.headline
        interval = f"{one.ci_low:.2f} .. {one.ci_high:.2f}"
        unparsed = f"{told.scored.num_unparsed:,}"
        found.append((model, f"{one.value:.2f}", interval, f"{one.stderr:.2f}", unparsed, f"{one.n:,}"))
    return found


def pair_rows(batch: Batch) -> list[tuple[str, ...]]:
    """Give a row for each pair, with its verdict in the models' names."""
    return [
        (
            first,
            second,
            f"{one.difference:+.2f}",
            f"{one.ci_low:+.2f} .. {one.ci_high:+.2f}",
            f"{one.p_value:.4f}",
            f"{one.p_holm:.4f}",
            one.verdict().replace("second", second).replace("first", first),
        )
        for first, second, one in batch.pairs
    ]


def flag_rows(batch: Batch) -> list[tuple[str, str]]:
    """Count the questions that stand out, by reason."""
    return [(why, f"{times:,}") for why, times in sorted(Counter(flag.why for flag in batch.flags).items())]


def metric(batch: Batch) -> str:
    """Name what the scores are of."""
    one = next(iter(batch.told.values())).scored.headline
    return f"{batch.benchmark}, variant {batch.variant}: {one.name} of {one.max_score:g}, {one.num_clusters:,} draws"


def as_json(batch: Batch) -> str:
    """Write it all as one JSON object."""
    body = {
        "benchmark": batch.benchmark,
        "variant": batch.variant,
        "models": {model: dataclasses.asdict(told.scored.headline) for model, told in batch.told.items()},
        "pairs": [
            {"first_model": first, "second_model": second, **dataclasses.asdict(one), "verdict": one.verdict()}
            for first, second, one in batch.pairs
        ],
        "flags": [dataclasses.asdict(flag) for flag in batch.flags],
    }
    return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(batch: Batch) -> str:
    """Write it all as one page."""
    flags = [(str(flag.question_id), flag.why) for flag in batch.flags[:_SHOWN]]
    more = len(batch.flags) - len(flags)
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{html.escape(batch.benchmark)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(batch.benchmark)}</h1><p>{html.escape(metric(batch))}</p>",
        _table(HEAD, model_rows(batch)),
        "<h2>Pairs</h2><p>Paired by question, pictures as one draw; p corrected (Holm) for the number of pairs.</p>"
        + _table(PAIRS, pair_rows(batch))
        if batch.pairs
        else "",
        "<h2>Questions that stand out</h2>" + _table(("question", "why"), flags) if flags else "",
        f"<p>and {more:,} more</p>" if more > 0 else "",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"
