"""One answer and the records that pull at it, with what is known of how far to trust that. It computes no gradient and trains nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tinyllava_core.artifact import Artifact
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.small import small
from tinyllava_core.errors import BadInput, nearest
from tinyllava_core.frozen import read_yaml
from tinyllava_core.why.checking import HALVES, REMOVAL
from tinyllava_core.why.records import QUALITY, SIDE

EDGE = "this answer is on the edge: another order alone takes it, or comes near to that, so a flip below is not called an effect of the records"
UNCHECKED = (
    "unchecked: nothing says how far this ranking agrees with retraining; `tinyllava attribute {0} --halves 16` does"
)
NOT_A_CAUSE = "a record that stands here pulled at this answer by its gradient; that it caused it is not shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One record at either end of an answer's ranking."""

    rank: int  # 1, 2, ..: for the answer; -1, -2, ..: against it
    record_id: str
    source: str
    score: float
    cosine: float
    kernel: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What is known of one answer."""

    benchmark: str
    question_id: str
    text: str
    answer: str
    was_right: bool | None
    loss: float  # of the answer, summed over its tokens
    pulls_for: tuple[Pull, ...]
    pulls_against: tuple[Pull, ...]
    checked: tuple[str, ...]  # sentences; one that begins with `unchecked` where nothing was


def why(store: Artifact, checks: Sequence[Artifact], benchmark: str, question_id: str, count: int) -> Why:
    """Find an answer's nearest records in a store, and its checks. Raises BadInput for a question that the store does not have."""
    asked = pq.read_table(
        store.folder / "questions.parquet", columns=["benchmark", "question_id", "text", "answer", "was_right", "loss"]
    )
    row = _row(asked.to_pylist(), benchmark, question_id)
    here = [("benchmark", "=", benchmark), ("question_id", "=", question_id)]
    mine = pq.read_table(store.folder / "attributions.parquet", filters=here)
    pulls = [Pull(**{name: one[name] for name in Pull.__slots__}) for one in mine.to_pylist()]
    return Why(
        **row,
        pulls_for=tuple(one for one in pulls if 0 < one.rank <= count),
        pulls_against=tuple(one for one in pulls if -count <= one.rank < 0),
        checked=tuple(sentences(rows_of(checks), benchmark, question_id, store.manifest()["inputs"]["checkpoint"])),
    )


def rows_of(checks: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Read the rows of some checks."""
    return [json.loads(line) for one in checks for line in (one.folder / "checks.jsonl").open("rb")]


def sentences(rows: Sequence[dict[str, Any]], benchmark: str, question_id: str, checkpoint: str) -> list[str]:
    """Say what the checks found, for this answer and for all; `unchecked` where there is none."""
    halves = [row for row in rows if row["what"] == HALVES]
    mine = [
        row
        for row in rows
        if row["what"] == REMOVAL and (row["benchmark"], row["question_id"]) == (benchmark, question_id)
    ]
    told = [_agreement(halves)] if halves else [UNCHECKED.format(checkpoint)]
    if any(row.get("is_calm") is False for row in mine):
        told.append(EDGE)
    for order in sorted({row["in_order"] for row in mine}):
        told.append(_removal({row["method"]: row for row in mine if row["in_order"] == order}, order))
    if not mine:
        told.append(
            "this answer: unchecked; `--check 60 --orders 2` trains without its first 60 records, and without random ones"
        )
    return told


def _agreement(rows: Sequence[dict[str, Any]]) -> str:
    """Say the newest check over halves."""
    last = {row["method"]: row for row in rows}
    row = last["score"]
    ceiling = row["attainable"]
    reach = f"{ceiling:.2f} attainable" if ceiling == ceiling else "an unknown ceiling (one order)"
    return (
        f"agreement with retraining {row['agreement']:.2f} of {reach} ({row['num_subsets']} halves x {row['num_orders']} orders); "
        f"same answer {last['same answer']['agreement']:.2f}, random {last['random']['agreement']:.2f}"
    )


def _removal(by_method: dict[str, dict[str, Any]], order: int) -> str:
    first, random = by_method["score"], by_method["random"]
    if not first["given_before"]:
        return f"order {order}: trained in it on all records, the model does not give this answer: nothing to flip"
    what = "is not given any more" if first["flips"] else "is still given"
    return (
        f"order {order}: without the first {first['num_removed']} records the answer {what} (log-probability {first['change']:+.2f}); without as many "
        f"random ones it goes in {random['flips']} of {random['num_subsets']} ({random['change']:+.2f}){_alike(random)}"
    )


def _alike(random: dict[str, Any]) -> str:
    share = random.get("flips_alike")  # checks from before it was counted have none
    return "" if share is None else f", as {100 * share:.0f} % of the answers as sure as this do"


def _row(rows: list[dict[str, Any]], benchmark: str, question_id: str) -> dict[str, Any]:
    known = sorted({row["benchmark"] for row in rows})
    if benchmark not in known:
        raise BadInput(
            f"benchmark {benchmark!r}: the store has answers to {', '.join(known)}{nearest(benchmark, known)}"
        )
    ids = {row["question_id"]: row for row in rows if row["benchmark"] == benchmark}
    if question_id not in ids:
        raise BadInput(
            f"question {question_id!r}: {benchmark} has none of that id{nearest(question_id, list(ids))}; "
            "`SELECT question_id, answer FROM items` lists them"
        )
    return ids[question_id]


def picture_of(store: Artifact, workspace: Path, benchmark: str, question_id: str) -> bytes | None:
    """Give a small JPEG of what a question is about; None of a question without a picture, or where the file is gone."""
    for evaluation in store.inputs_from("evaluate", workspace).values():
        told = evaluation.folder / "JOB.yaml"
        if evaluation.manifest()["result"]["benchmark"] != benchmark or not told.is_file():
            continue
        with (evaluation.folder / "items.jsonl").open("rb") as rows:
            image = next(
                (row["image"] for row in map(json.loads, rows) if str(row["question_id"]) == question_id), None
            )
        file = ImagePlaces.parse(read_yaml(told)["images"], str(told)).find(image) if image else None
        return small(file, SIDE, QUALITY)
    return None


def command(checkpoint: str, benchmark: str, question_id: str) -> str:
    """Give the command line that shows why: what a page can print beside an answer."""
    return f"tinyllava why {checkpoint} --benchmark {benchmark} --question {question_id}"


def page_of(workspace: Path, checkpoint: str, benchmark: str, question_id: str) -> Path:
    """Name the page of an answer: where `tinyllava why` writes it, so that other pages can link to it."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in question_id)
    return workspace / "why" / checkpoint / f"{benchmark}-{safe}.html"
