"""Every question of every benchmark with every answer that some runs gave to it, column by column. No files are written, no HTML.

The first run is the one that the page is of; the others are there to be compared with. A question that a run was not
asked has no answer of that run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import Artifact
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.evaluate.questions.answers import own_id
from tinyllava_core.evaluate.questions.questions import Files, Question, QuestionId
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.frozen import read_yaml
from tinyllava_core.report.facts import RunFacts, read_jsonl
from tinyllava_core.report.scores import contaminated
from tinyllava_core.results import DownloadResult, EvaluateResult
from tinyllava_core.settings.condition import SEEN

_FEW = 4  # right answers of a benchmark that are kinds of their own: yes and no, A to D
_SUBJECTS = {"how many": " (counting)"}  # what a question that begins so is about, where the words do not say it
_SHOWN_GOLD = 3  # right answers named for a question; VQA has ten humans'


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One run's answers to one benchmark under one condition."""

    run: str  # what it is called
    run_id: str
    condition: str  # seen | blind | blur-3 ...
    score: float | None
    stderr: float | None
    prompt_sha256: str | None
    rows: dict[QuestionId, dict[str, Any]]  # lines of items.jsonl, or of answers.jsonl where there is no score


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One benchmark: its questions in their order, and who answered them."""

    name: str
    metric: str | None
    ids: Sequence[QuestionId]
    texts: Sequence[str]  # without the suffix that every question has
    pictures: Sequence[tuple[str, ...]]  # of each question
    gold: Sequence[str]  # "" where the official file is gone or tells none
    kinds: Sequence[tuple[str, ...]]  # names of the sub-scores that it counts in, how it begins, what it expects
    trained_on: frozenset[str]  # pictures that a training mix has
    images: ImagePlaces
    answered: Sequence[Answered]  # the first: as the page's run sees it


def collect(runs: Sequence[RunFacts]) -> Iterator[Asked]:
    """Give each benchmark of the first run, with the answers of all of them."""
    first, *others = runs
    tainted = contaminated(first)
    names = dict.fromkeys(artifact.result(EvaluateResult).benchmark for _, artifact in first.of("evaluate"))
    for name in names:
        mine = list(_evaluations(first, name))
        theirs = [(run, result, artifact) for run in others for result, artifact in _evaluations(run, name)]
        answered = [
            _answered(run, result, artifact) for run, result, artifact in [(first, *one) for one in mine] + theirs
        ]
        yield _asked(first, name, *mine[0], answered, frozenset(tainted.get(name, ())))


def _evaluations(run: RunFacts, name: str) -> Iterator[tuple[EvaluateResult, Artifact]]:
    """Give a run's evaluations of a benchmark, as it is seen first."""
    found = [(artifact.result(EvaluateResult), artifact) for _, artifact in run.of("evaluate")]
    mine = [one for one in found if one[0].benchmark == name]
    return iter(sorted(mine, key=lambda one: (one[0].condition != SEEN, not one[0].blind)))


def _answered(run: RunFacts, result: EvaluateResult, artifact: Artifact) -> Answered:
    rows = {row["question_id"]: row for row in read_jsonl(artifact.folder / "items.jsonl")}
    if not rows:  # the right answers are not public
        rows = {own_id(row, "answers.jsonl"): {"answer": row["text"]} for row in _given(artifact)}
    return Answered(
        run=run.title or run.run_id,
        run_id=run.run_id,
        condition=result.condition,
        score=result.score,
        stderr=result.stderr,
        prompt_sha256=result.prompt_sha256,
        rows=rows,
    )


def _asked(
    run: RunFacts,
    name: str,
    result: EvaluateResult,
    artifact: Artifact,
    answered: Sequence[Answered],
    trained_on: frozenset[str],
) -> Asked:
    downloaded = run.one("download", name)
    images, suffix = images_of(artifact, downloaded), benchmark(result.scorer).suffix
    prompts = {own_id(row, "answers.jsonl"): row["prompt"] for row in _given(artifact)}
    questions, rows = official(result, downloaded, images), answered[0].rows
    ids = list(rows)
    texts = [prompts.get(one, "").removesuffix(suffix).strip() for one in ids]
    right = [gold(questions.get(one)) for one in ids]
    kinds = zip((rows[one].get("facets", ()) for one in ids), openings(texts), expected(right), strict=True)
    return Asked(
        name=name,
        metric=result.metric,
        ids=ids,
        texts=texts,
        pictures=[_pictures(rows[one], questions.get(one)) for one in ids],
        gold=right,
        kinds=[(*facets, *begins, *expects) for facets, begins, expects in kinds],
        trained_on=trained_on,
        images=images,
        answered=answered,
    )


def gold(question: Question | None) -> str:
    """Name what the official file says is right, the most frequent first; "" if it says nothing."""
    if question is None:
        return ""
    counts = Counter(question.gold).most_common()
    told = [word if len(question.gold) == count else f"{word} ({count})" for word, count in counts[:_SHOWN_GOLD]]
    if len(counts) == len(question.gold):  # each of them once: nothing to count
        told = [word for word, _ in counts[:_SHOWN_GOLD]]
    return ", ".join(told) + (" …" if len(counts) > _SHOWN_GOLD else "")


def openings(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Name how each question begins, in two words ("how many …"), where at least one in a hundred begins so, and not all."""
    begins = [" ".join(text.lower().split()[:2]) for text in texts]
    counts = Counter(begins)
    usual = {begin for begin, count in counts.items() if begin and len(texts) > count >= max(2, len(texts) / 100)}
    return [(f"“{begin} …”{_SUBJECTS.get(begin, '')}",) if begin in usual else () for begin in begins]


def expected(right: Sequence[str]) -> list[tuple[str, ...]]:
    """Name what each question expects, where the benchmark has few right answers, each of several questions: yes and no."""
    counts = Counter(right)
    is_few = 1 < len(counts) <= _FEW and "" not in counts and min(counts.values()) > 1
    return [(f"expects {word}",) if is_few else () for word in right]


def _pictures(row: dict[str, Any], question: Question | None) -> tuple[str, ...]:
    if question is not None:
        return question.pictures
    image = row.get("image")
    return (image,) if image else ()


def _given(artifact: Artifact) -> list[dict[str, Any]]:
    return read_jsonl(artifact.folder / "answers.jsonl")


def images_of(artifact: Artifact, downloaded: Artifact | None) -> ImagePlaces:
    """Tell where the pictures were when the questions were asked; as the download has them, where no job says so."""
    job = artifact.folder / "JOB.yaml"
    if job.exists():
        return ImagePlaces.parse(read_yaml(job)["images"], str(job))
    return ImagePlaces.one(downloaded.folder / downloaded.result(DownloadResult).image_root if downloaded else Path())


def official(result: EvaluateResult, downloaded: Artifact | None, images: ImagePlaces) -> dict[QuestionId, Question]:
    """Read the benchmark's own file -> its questions by id. Nothing, where it is gone from this disk."""
    told = downloaded.result(DownloadResult).annotations if downloaded else None
    if downloaded is None or told is None or not (downloaded.folder / told).exists():
        return {}
    files = Files(annotations=downloaded.folder / told, images=images, asking=False)
    return {one.question_id: one for one in benchmark(result.scorer).variant(result.variant).read(files)}
