"""A few questions of each benchmark with their pictures and answers, for the page of a run. Which ones is a fixed rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import Artifact
from tinyllava_core.data.files.places import Piece
from tinyllava_core.data.inspect.small import inline, small
from tinyllava_core.evaluate.questions.answers import own_id
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.scoring import RIGHT
from tinyllava_core.report.answers.collect import images_of, official
from tinyllava_core.report.facts import RunFacts, read_jsonl
from tinyllava_core.results import EvaluateResult
from tinyllava_core.settings.condition import SEEN

PICTURE_SIZE = 192  # pixels of the longer edge
_EACH = 2  # right ones, and wrong ones, of a benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question, what was answered, and what was answered without seeing the picture."""

    benchmark: str
    picture: str | None  # data URI; None: a question without a picture, or the file is gone
    question: str
    expected: str  # "" if the official file is gone
    answer: str
    right: bool
    blind_answer: str | None  # None: not asked blind
    blind_right: bool | None


def examples(facts: RunFacts) -> list[Example]:
    """Give the first two right and the first two wrong answers of each benchmark, each about another picture."""
    evaluations = [artifact for _, artifact in facts.of("evaluate")]
    results = {artifact.fingerprint: artifact.result(EvaluateResult) for artifact in evaluations}
    found: list[Example] = []
    for artifact in evaluations:
        result = results[artifact.fingerprint]
        if result.condition == SEEN:
            blind = next(
                (
                    other
                    for other in evaluations
                    if results[other.fingerprint].blind and results[other.fingerprint].benchmark == result.benchmark
                ),
                None,
            )
            found += _of_benchmark(result, artifact, blind, facts.one("download", result.benchmark))
    return found


def _of_benchmark(
    result: EvaluateResult, seen: Artifact, blind: Artifact | None, downloaded: Artifact | None
) -> list[Example]:
    items = read_jsonl(seen.folder / "items.jsonl")
    prompts = {own_id(row, "answers.jsonl"): row["prompt"] for row in read_jsonl(seen.folder / "answers.jsonl")}
    blind_items = {row["question_id"]: row for row in read_jsonl(blind.folder / "items.jsonl")} if blind else {}
    images = images_of(seen, downloaded)
    questions = official(result, downloaded, images)
    chosen = []
    for item in _chosen(items):
        question, without = questions.get(item["question_id"]), blind_items.get(item["question_id"])
        chosen.append(
            Example(
                benchmark=result.benchmark,
                picture=_picture(images.look_up(item["image"])) if item["image"] else None,
                question=prompts.get(item["question_id"], "").removesuffix(benchmark(result.scorer).suffix).strip(),
                expected=Counter(question.gold).most_common(1)[0][0] if question and question.gold else "",
                answer=item["answer"],
                right=item["score"] >= RIGHT,
                blind_answer=without["answer"] if without else None,
                blind_right=without["score"] >= RIGHT if without else None,
            )
        )
    return chosen


def _chosen(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    shown: set[str] = set()
    chosen: list[dict[str, Any]] = []
    for right in (True, False):
        left = _EACH
        for item in items:
            if left and (item["score"] >= RIGHT) is right and item["image"] not in shown:
                chosen.append(item)
                shown |= {item["image"]} if item["image"] else set()
                left -= 1
    return chosen


def _picture(found: Path | Piece | None) -> str | None:
    """Make a small data URI of a picture."""
    data = small(found, PICTURE_SIZE, quality=85)
    return None if data is None else inline(data)
