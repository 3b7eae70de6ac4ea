"""Score an answer file that lies on the disk, without a model: what `tinyllava score` does. The rules are the benchmarks'."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
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
    num_ignored: int = 0  # answers to questions that are not scored


def score_file(todo: Scoring) -> Told:
    """Score, and write SCORES.json and SCORES.items.jsonl. Raises BadInput on whatever does not fit, before it writes."""
    row = todo.benchmark
    check_writable(todo)
    with _no_garbage_collection():
        files = Files(annotations=todo.annotations, questions=todo.questions, asking=False)
        questions = row.variant(todo.variant).read(files)
        given = read_answer_file(row, todo.answers, questions)
        given, num_ignored = _ours(row, questions, given)
        name = _variant(todo, given)
        judge = Judge.from_environment(_judge_cache(todo)) if row.variant(name).judged else None
        scored = score(row, name, questions, given.texts, judge, missing_allowed=todo.missing_allowed)
        result = result_of(
            scored,
            benchmark=row.name,
            scorer=row.name,
            variant=name,
            questions=questions,
            judge=judge.identity(questions) if judge else None,
            prompt_sha256=prompt_sha256(questions, given.prompts),
            answers_sha256=path_sha256(todo.answers),
        )
        told = Told(result=result, scored=scored, texts=given.texts, num_ignored=num_ignored)
        if todo.out is not None:
            _leave(todo, told)
    return told


def check_writable(todo: Scoring, submission: Path | None = None) -> None:
    """Raises BadInput if a file that would be written cannot be, or is one of those that are read."""
    out = [] if todo.out is None else [todo.out, items_path(todo.out), _judge_cache(todo)]
    read = {path.resolve() for path in (todo.answers, todo.annotations, todo.questions) if path is not None}
    for path in [*out, *([submission] if submission else [])]:
        if path.resolve() in read:
            raise BadInput(f"{path}: is read, and would be written over; name another file to write to")
        if path.is_dir():
            raise BadInput(f"{path}: is a folder; name the file to write, such as {path / 'scores.json'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{path}: its folder cannot be made: {error.strerror}; name another place") from None
        if not os.access(path.parent, os.W_OK):
            raise BadInput(f"{path}: its folder may not be written to; name another place")


def _ours(row: Benchmark, questions: Sequence[Question], given: Answers) -> tuple[Answers, int]:
    """Leave out answers to other questions, where the official rule does -> (the rest, how many were left out)."""
    if not row.extra_ignored:
        return given, 0
    known = {question.question_id for question in questions}
    texts = {name: text for name, text in given.texts.items() if name in known}
    if not texts:
        return given, 0  # none fits: said with the others' ids
    prompts = {name: text for name, text in given.prompts.items() if name in known}
    return Answers(texts=texts, prompts=prompts), len(given.texts) - len(texts)


def _variant(todo: Scoring, given: Answers) -> str:
    """Name the variant: the one that is asked for, or that the prompts show. Raises BadInput if they contradict."""
    row = todo.benchmark
    shown = row.variant_of(given.prompts.values()) if row.variant_of else None
    if shown and todo.variant and shown != todo.variant:
        raise BadInput(
            f"{todo.answers}: its prompts are those of variant {shown}, not {todo.variant}; leave --variant out"
        )
    return todo.variant or shown or row.default


def read_answer_file(row: Benchmark, path: Path, questions: Sequence[Question]) -> Answers:
    """Read answers in LLaVA's layout, or in the benchmark's own result format. Raises BadInput on a fault, with its place."""
    if is_llava(path):
        return read_llava(path, row.join(questions) if row.join else None, questions, row.suffix)
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
    if told.num_ignored:
        head += f", {told.num_ignored:,} answers to other questions passed over"
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


def _leave(todo: Scoring, told: Told) -> None:
    assert todo.out is not None
    scored = told.scored
    files = {"answers": todo.answers, "annotations": todo.annotations, "questions": todo.questions}
    body = {
        **dataclasses.asdict(told.result),
        "unparsed_fraction": scored.num_unparsed / max(1, len(scored.items)),
        "num_ignored": told.num_ignored,
        "cluster": todo.benchmark.cluster,
        "files": {name: {"path": str(path), "sha256": path_sha256(path)} for name, path in files.items() if path},
        "subscores": [dataclasses.asdict(one) for one in scored.subscores],
    }
    leave_items(items_path(todo.out), scored, told.texts)
    write_aside(todo.out, json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


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
