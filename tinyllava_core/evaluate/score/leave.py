"""Write scores down: items, sub-scores, and the result that is a row of the lineage. It computes none of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tinyllava_core.artifact import write_aside
from tinyllava_core.evaluate.questions.answers import Texts
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.scoring import Item, Scored
from tinyllava_core.results import EvaluateResult
from tinyllava_core.settings.condition import AS_IT_IS, Condition


def leave_items(path: Path, scored: Scored | None, texts: Texts) -> None:
    """Write one line per answer: what was asked about, said, read in it, and what it is worth. Nothing, without a score."""
    write_aside(path, _lines(_item_row(item, texts) for item in scored.items) if scored else "")


def leave_subscores(path: Path, scored: Scored | None) -> None:
    """Write one line per number that is not the headline, each with its error bar."""
    write_aside(path, _lines(dataclasses.asdict(one) for one in scored.subscores) if scored else "")


def result_of(
    scored: Scored | None,
    *,
    benchmark: str,
    scorer: str,
    variant: str,
    questions: Sequence[Question],
    judge: str | None,
    prompt_sha256: str | None,
    answers_sha256: str,
    condition: Condition = AS_IT_IS,
    submission: str | None = None,
) -> EvaluateResult:
    """Put a score into the shape of its lineage row; None: the right answers are not public."""
    headline = scored.headline if scored else None
    return EvaluateResult(
        benchmark=benchmark,
        scorer=scorer,
        variant=variant,
        blind=condition.blind,
        corruption=condition.corruption,
        severity=condition.severity,
        metric=headline.name if headline else None,
        score=headline.value if headline else None,
        stderr=headline.stderr if headline else None,
        ci_low=headline.ci_low if headline else None,
        ci_high=headline.ci_high if headline else None,
        max_score=headline.max_score if headline else None,
        num_questions=len(scored.items) if scored else len(questions),
        num_clusters=headline.num_clusters if headline else len({question.cluster for question in questions}),
        num_unparsed=scored.num_unparsed if scored else 0,
        judge=judge,
        prompt_sha256=prompt_sha256,
        answers_sha256=answers_sha256,
        submission=submission,
    )


def read_items(rows: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Read the lines that `leave_items` wrote back into items."""
    return [
        Item(
            question_id=row["question_id"],
            image=row["image"],
            parsed=row["parsed"],
            score=row["score"],
            cluster=row["cluster"],
            facets=tuple(row["facets"]),
            counts=tuple(row["counts"]),
            unparsed=row["unparsed"],
        )
        for row in rows
    ]


def _item_row(item: Item, texts: Texts) -> dict[str, Any]:
    return {
        "question_id": item.question_id,
        "image": item.image,
        "answer": texts.get(item.question_id),
        "parsed": item.parsed,
        "score": item.score,
        "cluster": item.cluster,
        "facets": item.facets,
        "counts": item.counts,
        "unparsed": item.unparsed,
    }


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join([orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE).decode() for row in rows])
