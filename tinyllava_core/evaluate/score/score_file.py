"""Score an answer file that lies on the disk, without a model: what `tinyllava score` does. The rules are the benchmarks'."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinyllava_core.artifact import file_sha256, write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Answers, Texts, is_llava, prompt_sha256, read_llava
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.leave import leave_items, result_of
from tinyllava_core.evaluate.score.scoring import Benchmark, Scored, score
from tinyllava_core.evaluate.score.statistics import Estimate
from tinyllava_core.results import EvaluateResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What is to be scored, and where to."""

    benchmark: Benchmark
    variant: str | None
    answers: Path
    annotations: Path
    questions: Path | None = None
    out: Path | None = None
    missing_allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The scores of an answer file."""

    result: EvaluateResult
    scored: Scored
    texts: Texts


def score_file(todo: Scoring) -> Told:
    """Score, and write SCORES.json and SCORES.items.jsonl. Raises BadInput on whatever does not fit."""
    row, variant = todo.benchmark, todo.benchmark.variant(todo.variant)
    with _no_garbage_collection():
        questions = variant.read(Files(annotations=todo.annotations, questions=todo.questions, asking=False))
        given = read_answer_file(row, todo.answers, questions)
        judge = Judge.from_environment(_judge_cache(todo)) if variant.judged else None
        scored = score(row, todo.variant, questions, given.texts, judge, missing_allowed=todo.missing_allowed)
        result = result_of(
            scored,
            benchmark=row.name,
            scorer=row.name,
            variant=todo.variant or row.default,
            questions=questions,
            judge=judge.identity(questions) if judge else None,
            prompt_sha256=prompt_sha256(questions, given.prompts),
            answers_sha256=path_sha256(todo.answers),
        )
        if todo.out is not None:
            _leave(todo, result, scored, given.texts)
    return Told(result=result, scored=scored, texts=given.texts)


def read_answer_file(row: Benchmark, path: Path, questions: Sequence[Question]) -> Answers:
    """Read answers in LLaVA's layout, or in the benchmark's own result format. Raises BadInput on a fault, with its place."""
    if is_llava(path):
        return read_llava(path, row.join(questions) if row.join else None)
    if row.own_answers is None:
        raise BadInput(f"{path}: expected LLaVA's layout: one JSON object per line, with question_id and text")
    return Answers(texts=row.own_answers(path, questions), prompts={})


def submit_file(row: Benchmark, answers: Path, questions: Path | None, out: Path, texts: Texts | None = None) -> None:
    """Write the file that the benchmark's server takes. Raises BadInput if it has no server."""
    if row.submit is None:
        raise BadInput(f"{row.name}: no server takes its answers; it is scored here (leave --submission out)")
    if questions is None:
        raise BadInput(f"{row.name}: the upload file needs the official questions: --questions PATH")
    if texts is None:
        asked = row.variant(None).read(Files(annotations=questions, asking=False)) if row.join else []
        texts = read_answer_file(row, answers, asked).texts
    row.submit(texts, questions, out)


def items_path(scores: Path) -> Path:
    """Say where the items of a score file are: SCORES.items.jsonl beside SCORES.json."""
    return scores.with_name(f"{scores.stem}.items.jsonl")


def lines(told: Told) -> list[str]:
    """Say the scores in lines of plain text."""
    result = told.result
    head = f"{result.benchmark}, variant {result.variant}: {result.num_questions:,} questions"
    head += f", {result.num_clusters:,} draws, {result.num_unparsed:,} unparsed"
    table = [("", "score", "error", "95 % interval", "n")]
    table += [_row(one) for one in (told.scored.headline, *told.scored.subscores)]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    body = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in table
    ]
    return [head, *([f"judge: {result.judge}"] if result.judge else []), *body]


def _row(one: Estimate) -> tuple[str, str, str, str, str]:
    most = "" if one.max_score == 100 else f" of {one.max_score:g}"
    return (
        one.name + most,
        f"{one.value:.2f}",
        f"{one.stderr:.2f}",
        f"{one.ci_low:.2f} .. {one.ci_high:.2f}",
        f"{one.n:,}",
    )


def _leave(todo: Scoring, result: EvaluateResult, scored: Scored, texts: Texts) -> None:
    assert todo.out is not None
    files = {"answers": todo.answers, "annotations": todo.annotations, "questions": todo.questions}
    body = {
        **dataclasses.asdict(result),
        "unparsed_fraction": scored.num_unparsed / max(1, len(scored.items)),
        "cluster": todo.benchmark.cluster,
        "files": {name: {"path": str(path), "sha256": path_sha256(path)} for name, path in files.items() if path},
        "subscores": [dataclasses.asdict(one) for one in scored.subscores],
    }
    todo.out.parent.mkdir(parents=True, exist_ok=True)
    leave_items(items_path(todo.out), scored, texts)
    write_aside(todo.out, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def path_sha256(path: Path) -> str:
    """Hash a file, or the names and hashes of a folder's files, but for pictures (the model's business) and hidden ones."""
    if not path.is_dir():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        hidden = any(part.startswith(".") for part in inside.parts)
        if file.is_file() and not hidden and file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            digest.update(f"{inside.as_posix()} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _judge_cache(todo: Scoring) -> Path:
    beside = todo.out if todo.out is not None else todo.answers
    beside.parent.mkdir(parents=True, exist_ok=True)
    return beside.with_name(f"{beside.stem}.judge.jsonl")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of small values are made and kept: looking again and again for circles among them costs a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
