"""The evaluation process: `python -m tinyllava_core.evaluate.answer JOB.yaml` answers one benchmark and scores it.

Under a launcher (torchrun) each process answers its share. Leaves answers.jsonl, items.jsonl, subscores.jsonl and evaluate.json in the job's folder. Started again, it goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tinyllava_core import job
from tinyllava_core.artifact import file_sha256
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, pick_device
from tinyllava_core.evaluate.answer.answer_all import answer_all
from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.answer.ranks import Ranks, Tally, part, take_in_parts
from tinyllava_core.evaluate.questions.answers import Texts, prompt_sha256
from tinyllava_core.evaluate.questions.questions import Files, Question, check_images
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.leave import leave_items, leave_subscores, result_of
from tinyllava_core.evaluate.score.scoring import Benchmark, check_scorable, is_public, score
from tinyllava_core.results import EvaluateResult
from tinyllava_core.settings.condition import condition, titled


def main(arguments: Sequence[str]) -> int:
    """Run one job file. Exit code 2 and one line on stderr where the input is at fault."""
    if len(arguments) != 1:
        print("usage: python -m tinyllava_core.evaluate.answer JOB.yaml", file=sys.stderr)
        return 2
    try:
        evaluate(job.EvaluateJob.read(Path(arguments[0])))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def evaluate(todo: job.EvaluateJob) -> EvaluateResult | None:
    """Answer what is not answered yet, score all, and leave the result. Raises BadInput before any model is loaded, where it can.

    Several processes answer a share each; the first one scores, and it alone gives the result.
    """
    row, ranks = benchmark(todo.scorer), Ranks.join()
    todo.out.mkdir(parents=True, exist_ok=True)
    variant = row.variant(todo.variant)
    questions = variant.read(Files(annotations=todo.annotations, images=todo.images))
    _check(todo, row, questions)
    judge = Judge.from_environment(todo.out / "judge.jsonl") if variant.judged else None
    answers = todo.out / "answers.jsonl"
    _answer(todo, ranks, questions, answers, row.max_new_tokens)
    ranks.wait()  # for the last answer
    ranks.leave()
    if not ranks.is_first:
        return None
    journal = take_in_parts(answers, questions, model_id(todo.checkpoint))
    journal.close()
    return _score(todo, row, questions, journal.texts, judge)


def _check(todo: job.EvaluateJob, row: Benchmark, questions: Sequence[Question]) -> None:
    """Raises BadInput on what would be found out too late."""
    if todo.expected not in (None, len(questions)):
        raise BadInput(
            f"{todo.annotations}: {len(questions)} questions, the manifest expects {todo.expected}; correct `count` or the file"
        )
    if row.submit is None:  # otherwise the answers of a hidden split can be uploaded
        check_scorable(row, todo.variant, questions)
    if not condition(todo.condition).blind:
        check_images(questions, todo.images)


def _answer(
    todo: job.EvaluateJob, ranks: Ranks, questions: Sequence[Question], answers: Path, max_new_tokens: int
) -> None:
    """Answer this rank's share of what is left, into its own part of the answer file (alone: into the file itself)."""
    settings, name = todo.recipe.evaluate, model_id(todo.checkpoint)
    device = pick_device(todo.recipe.launch.device)
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
        Answerer(todo.checkpoint, precision=settings.precision, device=device),
        journal,
        todo.images,
        condition=condition(todo.condition),
        batch_size=settings.batch_size,
        max_new_tokens=max_new_tokens,
        on_progress=job.tell if ranks.is_first else lambda _: None,
        total=len(questions),
        count=None if alone else lambda: whole.num_answered + tally.count(),
    )


def _score(
    todo: job.EvaluateJob, row: Benchmark, questions: Sequence[Question], texts: Texts, judge: Judge | None
) -> EvaluateResult:
    """Score the answers, or write the file that is uploaded where the right ones are not public."""
    scored, submission = None, None
    if is_public(row, todo.variant, questions):
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
        prompt_sha256=prompt_sha256(questions, {question.question_id: question.text for question in questions}),
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
