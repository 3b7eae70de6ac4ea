"""`tinyllava compare`: is the difference between two models more than noise?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_format, add_workspace
from tinyllava_core.errors import BadInput

if TYPE_CHECKING:
    from tinyllava_core.evaluate.compare.score_pair import Kept

HELP = "compare the scores of two runs, or of two score files"
DESCRIPTION = (
    "Paired tests on the same questions, the questions of one picture counted as one draw; p-values corrected (Holm) for "
    "the number of benchmarks. The difference is the second minus the first."
)

BETWEEN_CHECKPOINTS = (
    "These tests are about these two checkpoints, over the questions. Whether the data or the recipe made the difference they cannot say: "
    "another order of the same records alone differs as much now and then; compare several seeds or orders of each."
)
BETWEEN_SEEDS = "These tests are about the two recipes: a training is the unit, not a question."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "first",
        nargs="?",
        metavar="FIRST",
        help="`latest`, a run's id or its first letters, or a SCORES.json; several with commas: one recipe's seeds",
    )
    parser.add_argument("second", nargs="?", metavar="SECOND", help="the same")
    plan = parser.add_argument_group("before anything is trained")
    plan.add_argument("--plan", type=int, metavar="QUESTIONS", help="how small a difference so many questions can show")
    plan.add_argument("--per-picture", type=float, default=1.0, metavar="N", help="questions about one picture")
    plan.add_argument("--alike", type=float, default=0.2, metavar="0..1", help="how much those of one picture agree")
    plan.add_argument("--differ", type=float, default=0.2, metavar="0..1", help="share on which two models differ")
    plan.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings on each side")
    plan.add_argument("--seed-sd", type=float, default=0.0, metavar="POINTS", help="how far their scores spread")
    plan.add_argument("--benchmarks", type=int, default=1, metavar="N", help="that are compared at once")
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Compare, and say it."""
    from tinyllava_core.evaluate.compare.score_pair import HEAD, as_json, compare_all, compare_recipes, read_seeds, rows
    from tinyllava_core.show import show

    if args.plan is not None:
        _plan(args)
        return
    if args.first is None or args.second is None:
        raise BadInput("compare: give two runs or score files, or --plan QUESTIONS")
    if "," in args.first + args.second:
        differences = compare_recipes(read_seeds(args.first), read_seeds(args.second))
    else:
        differences = compare_all(_kept(args.first, args.workspace), _kept(args.second, args.workspace))
    if args.format == "json":
        print(as_json(differences))
        return
    show(HEAD, rows(differences), args.format)
    if args.format == "table":
        print(BETWEEN_SEEDS if "," in args.first + args.second else BETWEEN_CHECKPOINTS)


def _plan(args: argparse.Namespace) -> None:
    from tinyllava_core.evaluate.compare.power import Plan, lines

    asked = Plan(
        num_questions=args.plan,
        per_picture=args.per_picture,
        alike=args.alike,
        differ=args.differ,
        seeds=args.seeds,
        seed_sd=args.seed_sd,
        num_benchmarks=args.benchmarks,
    )
    print("\n".join(lines(asked)))


def _kept(word: str, workspace: Path) -> list[Kept]:
    from tinyllava_core.evaluate.compare.score_pair import kept, read_kept

    if word.endswith(".json"):
        return [read_kept(Path(word))]

    from tinyllava_core.lineage.scored import scored

    return [kept(told, items) for told, items in scored(workspace, word)]
