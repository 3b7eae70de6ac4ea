"""`tinyllava score`: score an answer file with a benchmark's own rules. It asks no model and needs no GPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyllava_core.errors import BadInput

HELP = "score an answer file with a benchmark's rules"
DESCRIPTION = (
    "Score answers in LLaVA's layout (JSON lines: question_id, prompt, text) or in the benchmark's own result format. "
    "Writes SCORES.json, and one line per answer to SCORES.items.jsonl. Without --out: prints the scores only."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("benchmark", metavar="BENCHMARK", help="a key of the table of benchmarks, such as vqa or pope")
    parser.add_argument("--answers", type=Path, required=True, metavar="FILE", help="the answers")
    parser.add_argument("--annotations", type=Path, metavar="PATH", help="the official annotation file, or folder")
    parser.add_argument("--questions", type=Path, metavar="PATH", help="the official question file, where there is one")
    parser.add_argument("--variant", metavar="NAME", help="one of the benchmark's variants (default: its own)")
    parser.add_argument("--out", type=Path, metavar="SCORES.json", help="where to write the scores")
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
    row = benchmark(args.benchmark)
    row.variant(args.variant)
    todo = Scoring(
        benchmark=row,
        variant=args.variant,
        answers=args.answers,
        annotations=args.annotations or args.answers,
        questions=args.questions,
        out=args.out,
        missing_allowed=args.allow_missing,
    )
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
