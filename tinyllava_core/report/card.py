"""The model card of a run's checkpoint, in the form that the hub reads: what it is, what it was trained on, how good, how far to trust it.

Every number is the run's own. It is written beside the run's page, because scores come after the export.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markupsafe import Markup

from tinyllava_core.report.facts import RunFacts, mix_rows
from tinyllava_core.report.html import HERE, as_set, render
from tinyllava_core.report.scores import ScoreRow
from tinyllava_core.report.trust import shared_rows
from tinyllava_core.results import DownloadResult, ExportResult

FILE, PAGE = "MODEL_CARD.md", "model_card.html"
_MARKS = re.compile(r"[\\`*_\[\]<>!|~&#]")
UNKNOWN = "unknown"  # the hub's word for a licence that nobody told


def write_card(facts: RunFacts, scores: Sequence[ScoreRow], folder: Path) -> Path:
    """Write MODEL_CARD.md into `folder`: upload it as the README.md of the model -> the file."""
    head = yaml.safe_dump(_metadata(facts, scores), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{head}---", *_what(facts), *_data(facts), *_scores(scores), *_limits(facts, scores)]
    (folder / FILE).write_text("\n\n".join(parts) + "\n", encoding="utf-8", errors="backslashreplace")
    return folder / FILE


def write_card_page(card: Path, back: str) -> Path:
    """Write a card, but for its head, as a page beside it -> the page. `back`: the page of the run. What data says stays text."""
    run_id, text = card.read_text(encoding="utf-8").split("\n---\n", 1)[1].strip().removeprefix("# ").split("\n", 1)
    body = MarkdownIt("js-default").disable("image").render(f"# {run_id}\n{text}")
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    html = render(HERE / "card.html", run_id=run_id, back=back, file=card.name, card=Markup(body))
    (card.parent / PAGE).write_text(html, encoding="utf-8", errors="backslashreplace")
    return card.parent / PAGE


def _said(text: str | None) -> str:
    """Write what a recipe or a manifest says as words of a line: Markdown sees no picture, link, cell or heading in it."""
    return _MARKS.sub(r"\\\g<0>", " ".join((text or "").split()))


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def licences(facts: RunFacts) -> dict[str, str | None]:
    """Give the licence of every source that was trained on."""
    used = {row.source for row in mix_rows(facts)}
    found = ((name, artifact.result(DownloadResult)) for name, artifact in facts.of("download"))
    return {name: result.licence for name, result in found if name in used}


def _metadata(facts: RunFacts, scores: Sequence[ScoreRow]) -> dict[str, Any]:
    told = set(licences(facts).values())
    results = [
        {
            "task": {"type": "visual-question-answering"},
            "dataset": {"name": row.benchmark, "type": row.benchmark},
            "metrics": [{"type": row.metric, "name": row.metric, "value": round(row.seen.score, 2)}],
        }
        for row in scores
        if row.seen
    ]
    (only,) = told if len(told) == 1 else (None,)
    return {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "license": "other",
        "license_name": only or UNKNOWN if len(told) < 2 else "several, see below",
        "tags": ["tinyllava", "llava", "vision-language"],
        **({"model-index": [{"name": facts.run_id, "results": results}]} if results else {}),
    }


def _what(facts: RunFacts) -> list[str]:
    model, exported = facts.recipe.model, [artifact.result(ExportResult) for _, artifact in facts.of("export")]
    lines = [
        f"# {facts.run_id}",
        f"{_said(model.vision)} → {_said(model.connector)} → {_said(model.language)}, trained by the recipe "
        f"{_code(facts.recipe.name)} with seed {facts.recipe.seed}. {_said(facts.recipe.description)}".rstrip(),
    ]
    changed = ", ".join(_code(f"{key} = {as_set(value)}") for key, value in facts.overrides.items())
    lines += [f"Changed in it: {changed}."] if changed else []
    code = f"Code: commit {facts.git_commit}{', with changes that are not committed' if facts.git_dirty else ''}."
    lines += [code] if facts.git_commit else []
    lines += [
        f"The exported model and the trained one were compared: logits differ by at most {one.max_logit_difference:g}, "
        f"greedy answers are {'equal' if one.equal_generations else 'NOT equal'}."
        for one in exported
    ]
    return lines


def _data(facts: RunFacts) -> list[str]:
    known = licences(facts)
    rows = [
        f"| {row.stage} | {_said(row.source)} | {row.num_records:,} | {row.tokens:.1f} % | "
        f"{_said(known.get(row.source)) or UNKNOWN} |"
        for row in mix_rows(facts)
    ]
    head = ["| stage | source | records | of the tokens | licence |", "|---|---|---:|---:|---|"]
    return ["## Trained on", "\n".join([*head, *rows]) if rows else "Nothing is known of its data."]


def _scores(scores: Sequence[ScoreRow]) -> list[str]:
    rows = [
        f"| {_said(row.benchmark)} | {_said(row.metric)} | {row.seen.score:.1f} ± {row.seen.stderr:.1f} | "
        f"{f'{row.blind.score:.1f}' if row.blind else ''} | {_clean(row)} | {row.num_questions:,} |"
        for row in scores
        if row.seen
    ]
    head = [
        "| benchmark | metric | score | blind | without shared pictures | questions |",
        "|---|---|---:|---:|---:|---:|",
    ]
    note = "± is one standard error. Blind: every picture blanked. Without shared pictures: without questions whose pictures a training mix has, or has one with a near hash."
    return ["## Scores", "\n".join([*head, *rows]), note] if rows else ["## Scores", "None was measured."]


def _clean(row: ScoreRow) -> str:
    return f"{row.clean.measured.score:.1f}" if row.clean and row.clean.measured else ""


def _limits(facts: RunFacts, scores: Sequence[ScoreRow]) -> list[str]:
    shared = shared_rows(facts)
    lines = [
        f"- {row.mix} shares {row.num_pictures:,} pictures with {_said(row.benchmark)} ({row.way.replace('_', ' ')})."
        for row in shared
    ]
    weak = [row.benchmark for row in scores if row.gain_interval and row.gain_interval[0] <= 0]
    lines += [f"- Pictures are not shown to help it on {', '.join(map(_said, weak))}."] if weak else []
    untold = [name for name, licence in licences(facts).items() if licence is None]
    lines += [f"- No licence is known of {', '.join(map(_said, untold))}."] if untold else []
    lines.append(
        "- Benchmarks tell of their questions. It makes things up, like every model of its kind; nothing here measures harm or bias."
    )
    return ["## Limits", "\n".join(lines)]
