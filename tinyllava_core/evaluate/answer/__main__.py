"""The evaluation process: `python -m tinyllava_core.evaluate.answer JOB.yaml [JOB.yaml ...]` answers benchmarks and scores them.

The jobs are of one checkpoint, which is loaded once. Under a launcher (torchrun) each process answers its share. Leaves
answers.jsonl, items.jsonl, subscores.jsonl and evaluate.json in each job's folder. Started again, it goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinyllava_core import job
from tinyllava_core.artifact import file_sha256
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, pick_device
from tinyllava_core.evaluate.answer.answer_all import answer_all
from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.answer.ranks import Ranks, Tally, part, take_in_parts
from tinyllava_core.evaluate.questions.answers import Texts, prompt_sha256
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.leave import leave_items, leave_subscores, result_of
from tinyllava_core.evaluate.score.ready import check_questions
from tinyllava_core.evaluate.score.scoring import Benchmark, is_public, score
from tinyllava_core.results import EvaluateResult
from tinyllava_core.room import told
from tinyllava_core.settings.condition import condition, titled


def main(arguments: Sequence[str]) -> int:
    """Do the jobs of some files. Exit code 2 and one line on stderr for each that the input is at fault of."""
    if not arguments:
        print("usage: python -m tinyllava_core.evaluate.answer JOB.yaml [JOB.yaml ...]", file=sys.stderr)
        return 2
    try:
        todos = [job.EvaluateJob.read(Path(argument)) for argument in arguments]
        with told("evaluate", todos[0].out):
            faults = evaluate_all(todos)
    except BadInput as error:
        faults = [error]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if faults else 0


def evaluate_all(todos: Sequence[job.EvaluateJob]) -> list[BadInput]:
    """Do the jobs, which are of one checkpoint, one after the other; one whose input turns out to be at fault is passed over -> the faults.

    Raises BadInput, before any model is loaded, for what can be seen without one.
    """
    if len({(todo.checkpoint, todo.recipe.evaluate.precision, todo.recipe.launch.device) for todo in todos}) > 1:
        raise BadInput("the jobs are of several checkpoints, precisions or devices; start a process for each")
    ranks, faults = Ranks.join(), []
    work = [_Work.read(todo) for todo in todos]

    @cache
    def answerer() -> Answerer:
        device = pick_device(todos[0].recipe.launch.device)
        return Answerer(todos[0].checkpoint, precision=todos[0].recipe.evaluate.precision, device=device)

    for one in work:
        started = time.monotonic()
        try:
            evaluate(one, ranks, answerer)
        except BadInput as error:
            faults.append(error)
        if ranks.is_first:
            job.write_seconds(one.todo.out, time.monotonic() - started)
    ranks.leave()
    return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A job with what can be read and checked without a model."""

    todo: job.EvaluateJob
    row: Benchmark
    questions: Sequence[Question]
    judge: Judge | None

    @classmethod
    def read(cls, todo: job.EvaluateJob) -> _Work:
        """Read the questions and look at all that would be found out too late. Raises BadInput."""
        row = benchmark(todo.scorer)
        todo.out.mkdir(parents=True, exist_ok=True)
        variant = row.variant(todo.variant)
        questions = variant.read(Files(annotations=todo.annotations, images=todo.images))
        seen = None if condition(todo.condition).blind else todo.images
        check_questions(row, questions, Files(annotations=todo.annotations, images=seen), todo.expected)
        judge = Judge.from_environment(todo.out / "judge.jsonl") if variant.judged else None
        return cls(todo=todo, row=row, questions=questions, judge=judge)


def evaluate(work: _Work, ranks: Ranks, answerer: Callable[[], Answerer]) -> EvaluateResult | None:
    """Answer what is not answered yet, score all, and leave the result.

    Several processes answer a share each; the first one scores, and it alone gives the result.
    """
    todo, answers = work.todo, work.todo.out / "answers.jsonl"
    _answer(work, ranks, answers, answerer)
    ranks.wait()  # for the last answer
    if not ranks.is_first:
        return None
    journal = take_in_parts(answers, work.questions, model_id(todo.checkpoint))
    journal.close()
    return _score(todo, work.row, work.questions, journal.texts, work.judge)


def _answer(work: _Work, ranks: Ranks, answers: Path, answerer: Callable[[], Answerer]) -> None:
    """Answer this rank's share of what is left, into its own part of the answer file (alone: into the file itself)."""
    todo, questions, name = work.todo, work.questions, model_id(work.todo.checkpoint)
    if ranks.is_first:
        take_in_parts(answers, questions, name)
    ranks.wait()  # nobody looks at the answers before the parts are in
    whole = Journal(answers, questions, name)
    ranks.wait()  # and nobody adds any before all have looked
    if whole.texts and whole.left and ranks.is_first:
        print(
            f"evaluate {todo.benchmark}: going on after {whole.num_answered} of {len(questions)} questions", flush=True
        )
    alone = ranks.world_size == 1
    journal = whole if alone else Journal(part(answers, ranks.rank), ranks.share(whole.left), name)
    if not journal.left:
        return
    tally = Tally(answers)
    answer_all(
        answerer(),
        journal,
        todo.images,
        condition=condition(todo.condition),
        batch_size=todo.recipe.evaluate.batch_size,
        max_new_tokens=work.row.max_new_tokens,
        on_progress=job.tell if ranks.is_first else lambda _: None,
        total=len(questions),
        count=None if alone else lambda: whole.num_answered + tally.count(),
    )


def _score(
    todo: job.EvaluateJob, row: Benchmark, questions: Sequence[Question], texts: Texts, judge: Judge | None
) -> EvaluateResult:
    """Score the answers, or write the file that is uploaded where the right ones are not public."""
    scored, submission = None, None
    if is_public(questions):
        scored = score(row, todo.variant, questions, texts, judge)
    else:
        assert row.submit is not None, "_check should have refused it"
        submission = f"submission{row.submit_ending}"
        row.submit(texts, todo.annotations, todo.out / submission)
    leave_items(todo.out / "items.jsonl", scored, texts)
    leave_subscores(todo.out / "subscores.jsonl", scored)
    result = result_of(
        scored,
        benchmark=todo.benchmark,
        scorer=todo.scorer,
        variant=todo.variant or row.default,
        condition=condition(todo.condition),
        questions=questions,
        judge=judge.identity(questions) if judge else None,
        prompt_sha256=prompt_sha256(questions, {question.question_id: question.prompt for question in questions}),
        answers_sha256=file_sha256(todo.out / "answers.jsonl"),
        submission=submission,
    )
    job.write_result(todo.out, "evaluate", result)
    print(f"evaluate {titled(todo.benchmark, todo.condition)}: {_said(result)}", flush=True)
    return result


def _said(result: EvaluateResult) -> str:
    if result.score is None:
        return (
            f"no score: the right answers are not public; {result.num_questions} answers to upload: {result.submission}"
        )
    return (
        f"{result.metric} {result.score:.1f} of {result.max_score:g} (standard error {result.stderr:.1f}, "
        f"{result.num_questions} questions, {result.num_unparsed} unparsed)"
    )


def model_id(checkpoint: Path) -> str:
    """Name a checkpoint in an answer file: its artifact's fingerprint, or its folder."""
    folder = checkpoint.resolve()
    return folder.parent.name if folder.name == "checkpoint" else folder.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
