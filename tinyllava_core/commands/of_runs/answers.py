"""`tinyllava answers`: every answer of a run as a page to look through, beside the answers of others."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyllava_core.commands.arguments import add_workspace

HELP = "write a page of every answer of a run, beside those of others"
DESCRIPTION = (
    "A folder with one page: every question of every benchmark with its picture and answers, to filter and to search, "
    "without network. A run's own page has it too; this one sets several runs side by side."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("run", metavar="RUN", help="`latest`, a run's id, or its first letters")
    parser.add_argument("others", nargs="*", metavar="OTHER", help="runs to compare it with")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: <workspace>/answers/<run>")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Write the folder, and say where the page is."""
    from tinyllava_core.report.answers.write import write_answers
    from tinyllava_core.report.gather import gather_named

    runs = [gather_named(args.workspace, word) for word in (args.run, *args.others)]
    print(write_answers(runs, args.out or args.workspace / "answers" / runs[0].run_id))
