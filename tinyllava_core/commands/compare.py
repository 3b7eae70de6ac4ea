"""`tinyllava compare`: is the difference between two models more than noise?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_format, add_workspace

if TYPE_CHECKING:
    from tinyllava_core.evaluate.compare.score_pair import Kept

HELP = "compare the scores of two runs, or of two score files"
DESCRIPTION = (
    "Paired tests on the same questions, the questions of one picture counted as one draw; p-values corrected (Holm) for "
    "the number of benchmarks. The difference is the second minus the first."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("first", metavar="FIRST", help="a run id (or its first letters), or a SCORES.json")
    parser.add_argument("second", metavar="SECOND", help="the same")
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Compare, and say it."""
    from tinyllava_core.evaluate.compare.score_pair import HEAD, as_json, compare_all, rows
    from tinyllava_core.show import show

    differences = compare_all(_kept(args.first, args.workspace), _kept(args.second, args.workspace))
    if args.format == "json":
        print(as_json(differences))
        return
    show(HEAD, rows(differences), args.format)


def _kept(word: str, workspace: Path) -> list[Kept]:
    from tinyllava_core.evaluate.compare.score_pair import kept, read_kept

    if word.endswith(".json"):
        return [read_kept(Path(word))]

    from tinyllava_core.lineage.scored import scored

    return [kept(told, items) for told, items in scored(workspace, word)]
