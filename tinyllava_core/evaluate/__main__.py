"""The evaluation process: `python -m tinyllava_core.evaluate JOB.yaml` answers one benchmark and scores it.

Leaves answers.jsonl, items.jsonl, subscores.jsonl and evaluate.json in the job's folder. Started again, it goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tinyllava_core import job
from tinyllava_core.artifact import file_sha256
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer import Answerer, answer_all, pick_device
from tinyllava_core.evaluate.answers import prompt_sha256
from tinyllava_core.evaluate.benchmarks import benchmark
from tinyllava_core.evaluate.journal import Journal
from tinyllava_core.evaluate.judge import Judge
from tinyllava_core.evaluate.leave import leave_items, leave_subscores, result_of
from tinyllava_core.evaluate.questions import Files, check_images
from tinyllava_core.evaluate.scoring import check_scorable, score
from tinyllava_core.results import EvaluateResult


def main(arguments: Sequence[str]) -> int:
    """Run one job file. Exit code 2 and one line on stderr where the input is at fault."""
    if len(arguments) != 1:
        print("usage: python -m tinyllava_core.evaluate JOB.yaml", file=sys.stderr)
        return 2
    try:
        evaluate(job.EvaluateJob.read(Path(arguments[0])))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def evaluate(todo: job.EvaluateJob) -> EvaluateResult:
    """Answer what is not answered yet, score all, and leave the result. Raises BadInput before any model is loaded, where it can."""
    row, settings = benchmark(todo.scorer), todo.recipe.evaluate
    device = pick_device(todo.recipe.launch.device)
    variant = row.variant(todo.variant)
    questions = variant.read(Files(annotations=todo.annotations, images=todo.images))
    if todo.expected not in (None, len(questions)):
        raise BadInput(
            f"{todo.annotations}: {len(questions)} questions, the manifest expects {todo.expected}; correct `count` or the file"
        )
    check_scorable(row, todo.variant, questions)
    if not todo.blind:
        check_images(questions, todo.images)
    todo.out.mkdir(parents=True, exist_ok=True)
    judge = Judge.from_environment(todo.out / "judge.jsonl") if variant.judged else None
    answers = todo.out / "answers.jsonl"
    journal = Journal(answers, questions, model_id(todo.checkpoint))
    if journal.left:
        if journal.texts:
            print(
                f"evaluate {todo.benchmark}: going on after {len(journal.texts)} of {len(questions)} questions",
                flush=True,
            )
        answer_all(
            Answerer(todo.checkpoint, precision=settings.precision, device=device),
            journal,
            todo.images,
            blind=todo.blind,
            batch_size=settings.batch_size,
            max_new_tokens=row.max_new_tokens,
            on_progress=job.tell,
        )
    journal.close()
    scored = score(row, todo.variant, questions, journal.texts, judge)
    leave_items(todo.out / "items.jsonl", scored, journal.texts)
    leave_subscores(todo.out / "subscores.jsonl", scored)
    result = result_of(
        scored,
        benchmark=todo.benchmark,
        scorer=todo.scorer,
        variant=todo.variant or row.default,
        blind=todo.blind,
        judge=judge.identity(questions) if judge else None,
        prompt_sha256=prompt_sha256(questions, {question.question_id: question.text for question in questions}),
        answers_sha256=file_sha256(answers),
    )
    job.write_result(todo.out, "evaluate", result)
    print(
        f"evaluate {todo.benchmark}{' blind' if todo.blind else ''}: {scored.metric} {scored.score:.1f} of "
        f"{result.max_score:g} (standard error {scored.stderr:.1f}, {len(questions)} questions, {scored.num_unparsed} unparsed)",
        flush=True,
    )
    return result


def model_id(checkpoint: Path) -> str:
    """Name a checkpoint in an answer file: its artifact's fingerprint, or its folder."""
    folder = checkpoint.resolve()
    return folder.parent.name if folder.name == "checkpoint" else folder.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
