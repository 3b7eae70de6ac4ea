"""`tinyllava score`: score an answer file with a benchmark's own rules. It asks no model and needs no GPU."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.errors import BadInput

if TYPE_CHECKING:
    from tinyllava_core.evaluate.score.score_file import Scoring

HELP = "score an answer file with a benchmark's rules"
DESCRIPTION = (
    "Score answers in LLaVA's layout (JSON lines: question_id, prompt, text) or in the benchmark's own result format. "
    "Writes SCORES.json, and one line per answer to SCORES.items.jsonl. Without --out: prints the scores only."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("benchmark", metavar="BENCHMARK", help="a key of the table of benchmarks, such as vqa or pope")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="the answers")
    parser.add_argument(
        "--batch", type=Path, metavar="FOLDER", help="answer files of several models: one table, every pair compared"
    )
    parser.add_argument("--blind", type=Path, metavar="FILE", help="with --batch: answers without the pictures")
    parser.add_argument("--annotations", type=Path, metavar="PATH", help="the official annotation file, or folder")
    parser.add_argument("--questions", type=Path, metavar="PATH", help="the official question file, where there is one")
    parser.add_argument("--variant", metavar="NAME", help="one of the benchmark's variants (default: its own)")
    parser.add_argument(
        "--out", type=Path, metavar="SCORES.json", help="where to write the scores; with --batch: .json or .html"
    )
    parser.add_argument(
        "--submission", type=Path, metavar="FILE", help="write the upload file for the benchmark's server"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="where the official rule says what a missing answer counts as"
    )


def act(args: argparse.Namespace) -> None:
    """Score, write, print; and write the upload file."""
    from tinyllava_core.evaluate.score.benchmarks import benchmark
    from tinyllava_core.evaluate.score.score_file import Scoring, check_writable, lines, score_file, submit_file

    if args.annotations is None and args.submission is None:
        raise BadInput(
            "score: nothing to do; give --annotations to score, or --submission FILE to write the upload file"
        )
    if (args.answers is None) == (args.batch is None):
        raise BadInput("score: give --batch or --answers, not both" if args.answers else "score: give --answers FILE")
    row = benchmark(args.benchmark)
    row.variant(args.variant)
    todo = Scoring(
        benchmark=row,
        variant=args.variant,
        answers=args.answers or args.batch,
        annotations=args.annotations or args.answers or args.batch,
        questions=args.questions,
        out=args.out,
        missing_allowed=args.allow_missing,
    )
    if args.batch is not None:
        _batch(todo, args.blind, args.submission)
        return
    check_writable(todo, args.submission)
    if args.annotations is None:
        submit_file(row, args.answers, args.questions, args.submission)
        print(f"{row.name}: wrote {args.submission}")
        return
    told = score_file(todo)
    print("\n".join(lines(told)))
    if args.submission is not None:
        submit_file(row, args.answers, args.questions or args.annotations, args.submission, told.texts)
        print(f"wrote {args.submission}")


def _batch(todo: Scoring, blind: Path | None, submission: Path | None) -> None:
    """Score a folder, print its tables, and write them."""
    from tinyllava_core.artifact import write_aside
    from tinyllava_core.evaluate.compare import batch_page
    from tinyllava_core.evaluate.compare.batch import score_batch
    from tinyllava_core.evaluate.score.score_file import check_writable
    from tinyllava_core.show import show

    if submission is not None:
        raise BadInput("score: --submission is for one answer file: --answers")
    if todo.out is not None and todo.out.suffix not in (".json", ".html"):
        raise BadInput(f"score: --out {todo.out}: expected a name that ends in .json or .html")
    check_writable(todo)
    found = score_batch(todo, blind)
    print(batch_page.metric(found))
    show(batch_page.HEAD, batch_page.model_rows(found), "table")
    for head, rows in (
        (batch_page.PAIRS, batch_page.pair_rows(found)),
        (("stands out", "questions"), batch_page.flag_rows(found)),
    ):
        if rows:
            print()
            show(head, rows, "table")
    if todo.out is not None:
        write_aside(todo.out, batch_page.as_html(found) if todo.out.suffix == ".html" else batch_page.as_json(found))
