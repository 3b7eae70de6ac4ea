"""Two sets of scores side by side: from two score files, or from two runs. What is compared, and how it is said.

The tests themselves are in compare.py; runs are found by lineage/scored.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.compare.compare import Difference, compare, holm
from tinyllava_core.evaluate.compare.seeds import compare_seeds
from tinyllava_core.evaluate.questions.questions import read_json, read_json_lines
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.leave import read_items
from tinyllava_core.evaluate.score.score_file import items_path
from tinyllava_core.evaluate.score.scoring import Item
from tinyllava_core.settings.condition import Condition, titled


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One score that was kept, and where its items are."""

    name: str  # of the benchmark, for tables
    scorer: str
    variant: str
    judge: str | None
    prompt_sha256: str | None
    items: Path


def kept(told: Mapping[str, Any], items: Path) -> Kept:
    """Make one of a result's fields, as a score file or the lineage has them."""
    shown = Condition(blind=told["blind"], corruption=told.get("corruption"), severity=told.get("severity"))
    return Kept(
        name=titled(told["benchmark"], shown.word),
        scorer=told["scorer"],
        variant=told["variant"],
        judge=told["judge"],
        prompt_sha256=told["prompt_sha256"],
        items=items,
    )


def read_kept(path: Path) -> Kept:
    """Read a score file. Raises BadInput if `tinyllava score --out` did not write it."""
    told = read_json(path)
    fields = ("benchmark", "blind", "scorer", "variant", "judge", "prompt_sha256")
    if not isinstance(told, dict) or any(field not in told for field in fields):
        raise BadInput(f"{path}: not a score file; expected what `tinyllava score --out` writes")
    if not items_path(path).is_file():
        raise BadInput(
            f"{items_path(path)}: no such file; keep it beside {path.name}: the tests go question by question"
        )
    return kept(told, items_path(path))


def compare_all(first: Sequence[Kept], second: Sequence[Kept]) -> list[Difference]:
    """Compare every benchmark that both have, and correct for their number. Raises BadInput if they have none in common."""
    others = {one.name: one for one in second}
    pairs = [(one, others[one.name]) for one in first if one.name in others]
    if not pairs:
        names = [", ".join(one.name for one in side) or "nothing" for side in (first, second)]
        raise BadInput(f"compare: no benchmark in common: {names[0]} against {names[1]}")
    return holm([_compare(one, other) for one, other in pairs])


def read_seeds(word: str) -> list[Kept]:
    """Read score files whose names stand with commas between them: one recipe's seeds on one benchmark."""
    return [read_kept(Path(name)) for name in word.split(",") if name]


def compare_recipes(first: Sequence[Kept], second: Sequence[Kept]) -> list[Difference]:
    """Compare two recipes by the score files of their seeds. Raises BadInput unless all are of one benchmark, scored alike."""
    everything = [*first, *second]
    if not first or not second:
        raise BadInput("compare: no score file on one side of the comma")
    one = everything[0]
    notes = [note for other in everything[1:] for note in _notes(one, other)]
    variant = benchmark(one.scorer).variant(one.variant)
    mine, theirs = ([_items(seed) for seed in side] for side in (first, second))
    return [compare_seeds(one.name, variant, mine, theirs, tuple(dict.fromkeys(notes)))]


def _compare(one: Kept, other: Kept) -> Difference:
    notes = _notes(one, other)
    variant = benchmark(one.scorer).variant(one.variant)
    return compare(one.name, variant, _items(one), _items(other), notes)


def _items(kept: Kept) -> list[Item]:
    return read_items(row for _, row in read_json_lines(kept.items))


def _notes(one: Kept, other: Kept) -> list[str]:
    """Say what may make two incomparable. Raises BadInput if they were scored differently."""
    if (one.scorer, one.variant, one.name) != (other.scorer, other.variant, other.name):
        raise BadInput(
            f"compare: {one.name}: {one.scorer} {one.variant} against {other.scorer} {other.variant}; "
            "score both the same way"
        )
    notes = []
    if one.judge != other.judge:
        notes.append(f"different judges: {one.judge} against {other.judge}")
    if one.prompt_sha256 and other.prompt_sha256 and one.prompt_sha256 != other.prompt_sha256:
        notes.append("asked with different prompts")
    return notes


HEAD = ("benchmark", "metric", "first", "second", "difference", "95 % interval", "p", "p (Holm)", "n", "verdict")


def rows(differences: Iterable[Difference]) -> list[tuple[str, ...]]:
    """Lay differences out as cells."""
    return [
        (
            one.benchmark,
            one.metric,
            f"{one.first:.2f}",
            f"{one.second:.2f}",
            f"{one.difference:+.2f}",
            f"{one.ci_low:+.2f} .. {one.ci_high:+.2f}",
            f"{one.p_value:.4f}",
            f"{one.p_holm:.4f}",
            f"{one.num_questions:,} in {one.num_clusters:,}",
            one.verdict() + "".join(f"; {note}" for note in one.notes),
        )
        for one in differences
    ]


def as_json(differences: Iterable[Difference]) -> str:
    """Write differences as a JSON array."""
    import dataclasses

    told = [dataclasses.asdict(one) | {"verdict": one.verdict()} for one in differences]
    return json.dumps(told, indent=1, ensure_ascii=False)
