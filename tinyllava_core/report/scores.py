"""The scores of a run side by side: seen, blind, corrupted, and without the questions whose pictures were trained on.

Read from artifact folders: the scores from results, the differences and the clean scores from items, question by question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from tinyllava_core.artifact import Artifact
from tinyllava_core.evaluate.compare.compare import Difference, compare, holm
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.leave import read_items
from tinyllava_core.evaluate.score.scoring import Item, estimates
from tinyllava_core.report.facts import RunFacts, read_jsonl
from tinyllava_core.results import EvaluateResult
from tinyllava_core.settings.condition import BLIND, SEEN

Conditions = Mapping[str, tuple[EvaluateResult, Artifact]]  # by the condition's word


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One score, of max_score."""

    score: float
    stderr: float
    max_score: float = 100.0

    @property
    def percent(self) -> float:
        """Give the score as a part of the most it can be."""
        return 100 * self.score / self.max_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """A score without the questions whose pictures the training mixes have."""

    num_contaminated: int  # questions left out
    num_by_way: Mapping[str, int]  # of them: by the surest way in which their pictures equal a mix's
    measured: Measured | None  # None: no question is left


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One benchmark: the score with the images, with every image blanked, with every image corrupted."""

    benchmark: str
    metric: str
    seen: Measured | None
    blind: Measured | None
    num_questions: int
    num_unparsed: int
    variant: str = ""
    corrupted: Mapping[str, Measured] = field(default_factory=dict)  # by the condition's word
    changes: Mapping[str, Difference] = field(default_factory=dict)  # of blind and corrupted answers from the seen ones
    clean: Clean | None = None  # None: nothing was found, or looked for
    submission: str | None = None  # path of the upload file: the right answers are not public
    lower_is_better: bool = False  # CHAIR counts what is not there

    @property
    def gain(self) -> float | None:
        """Say how many points the images are worth: more than 0 where the answers are better with them."""
        if not (self.seen and self.blind):
            return None
        return (self.blind.score - self.seen.score) if self.lower_is_better else (self.seen.score - self.blind.score)

    @property
    def gain_interval(self) -> tuple[float, float] | None:
        """Give the 95 % interval of the gain: of the paired difference, pictures drawn alike for both."""
        change = self.changes.get(BLIND)
        if change and self.lower_is_better:
            return change.ci_low, change.ci_high
        return (0.0 - change.ci_high, 0.0 - change.ci_low) if change else None  # minus alone would make a -0.0

    @property
    def conditions(self) -> Iterator[tuple[str, Measured, Difference | None]]:
        """Give each condition that has a score: its word, the score, and its difference from the seen one."""
        for word, measured in ((SEEN, self.seen), (BLIND, self.blind), *self.corrupted.items()):
            if measured:
                yield word, measured, self.changes.get(word)


def score_rows(facts: RunFacts) -> list[ScoreRow]:
    """Read the scores, each benchmark's conditions together, in the order of the run.

    The p-values of all differences are corrected together, as those of `tinyllava compare` are.
    """
    evaluations = [(artifact.result(EvaluateResult), artifact) for _, artifact in facts.of("evaluate")]
    tainted = contaminated(facts)
    rows: list[tuple[str, Conditions]] = []
    paired: dict[tuple[str, str], Difference] = {}
    for name in dict.fromkeys(result.benchmark for result, _ in evaluations):
        mine = {result.condition: (result, artifact) for result, artifact in evaluations if result.benchmark == name}
        paired |= {(name, word): change for word, change in _changes(mine).items()}
        rows.append((name, mine))
    corrected = dict(zip(paired, holm(list(paired.values())), strict=True))
    return [
        _row(name, mine, {word: one for (of, word), one in corrected.items() if of == name}, tainted.get(name, {}))
        for name, mine in rows
    ]


# Ways in which a benchmark's picture and one of a mix are found equal, the surest first. Only the last is no proof.
WAYS = {
    "bytes": "the same file",
    "pixels": "the same pixels",
    "coco_id": "the same COCO number",
    "vg_id": "the same Visual Genome number",
    "openimages_id": "the same Open Images name",
    "looks": "looks alike, perhaps another picture",
}


def contaminated(facts: RunFacts) -> dict[str, dict[str, str]]:
    """Read which pictures of which benchmarks the run's mixes were found to have, and kept, and the surest way each was found."""
    found: dict[str, dict[str, str]] = {}
    for _, artifact in (*facts.of("mix"), *facts.of("overlap")):
        path = artifact.folder / "contamination.parquet"
        if path.is_file():
            table = pq.read_table(path, columns=["benchmark", "benchmark_image", "how", "dropped"])
            for row in table.to_pylist():
                if not row["dropped"]:
                    ways = found.setdefault(row["benchmark"], {})
                    before = ways.get(row["benchmark_image"], row["how"])
                    ways[row["benchmark_image"]] = min(before, row["how"], key=list(WAYS).index)
    return found


def _row(name: str, mine: Conditions, changes: Mapping[str, Difference], tainted: Mapping[str, str]) -> ScoreRow:
    result, artifact = mine.get(SEEN) or next(iter(mine.values()))
    measured = {word: found for word, (one, _) in mine.items() if (found := _measured(one))}
    submission = str(artifact.folder / result.submission) if result.submission else None
    return ScoreRow(
        benchmark=name,
        metric=result.metric or "",
        seen=measured.get(SEEN),
        blind=measured.get(BLIND),
        num_questions=result.num_questions,
        num_unparsed=result.num_unparsed,
        variant=result.variant,
        lower_is_better=benchmark(result.scorer).variant(result.variant).lower_is_better,
        corrupted={word: one for word, one in measured.items() if word not in (SEEN, BLIND)},
        changes=changes,
        clean=_clean(result, artifact, tainted) if tainted and SEEN in measured else None,
        submission=submission,
    )


def _measured(result: EvaluateResult) -> Measured | None:
    if result.score is None or result.stderr is None or result.max_score is None:
        return None
    return Measured(score=result.score, stderr=result.stderr, max_score=result.max_score)


def _changes(mine: Conditions) -> dict[str, Difference]:
    """Compare each condition's answers with the seen ones. Nothing, where one picture alone tells nothing of noise."""
    if SEEN not in mine or mine[SEEN][0].score is None or mine[SEEN][0].num_clusters < 2:
        return {}
    result, artifact = mine[SEEN]
    variant, seen = benchmark(result.scorer).variant(result.variant), _items(artifact)
    return {
        word: compare(result.benchmark, variant, seen, _items(other))
        for word, (_, other) in mine.items()
        if word != SEEN
    }


def _clean(result: EvaluateResult, artifact: Artifact, tainted: Mapping[str, str]) -> Clean | None:
    """Score again without the questions about pictures that a mix has, or has one like; None if there are none."""
    items = _items(artifact)
    ways = [None if one.image is None else tainted.get(one.image) for one in items]
    kept = [one for one, way in zip(items, ways, strict=True) if way is None]
    if len(kept) == len(items):
        return None
    measured = None
    if kept:
        headline = estimates(benchmark(result.scorer).variant(result.variant), kept)[0]
        measured = Measured(score=headline.value, stderr=headline.stderr, max_score=headline.max_score)
    by_way = {told: ways.count(way) for way, told in WAYS.items() if way in ways}
    return Clean(num_contaminated=len(items) - len(kept), num_by_way=by_way, measured=measured)


def _items(artifact: Artifact) -> Sequence[Item]:
    return read_items(read_jsonl(artifact.folder / "items.jsonl"))
