"""`tinyllava study`: run every variant of a recipe, in a process of its own; without a name, list the studies."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_format, add_gpu, add_overrides, add_workspace, become
from tinyllava_core.show import show

HELP = "run every variant of a study: one table, its figures"
DESCRIPTION = "Without a name: list the studies that come with the package."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="a name, or a path to a YAML file")
    parser.add_argument(
        "--plan", action="store_true", help="run nothing: say what is new, shared or done, and what it takes"
    )
    parser.add_argument(
        "--halving",
        action="store_true",
        help="successive halving: of variants with the same data and tokens, those with the lower held-out loss go on after a part of "
        "their steps (section `halving` of a study)",
    )
    plan = parser.add_argument_group("with --plan")
    add_gpu(plan)
    plan.add_argument("--budget", type=float, metavar="GPU_HOURS", help="say which variants it has room for")
    add_format(plan)
    add_overrides(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Check every recipe of the study; then let the flow take this process's place."""
    from tinyllava_core.recipe import read_overrides
    from tinyllava_core.study.grid import known_studies, load, runs

    settings = [word for setting in args.set for word in ("--set", setting)]
    words = ["--gpu", args.gpu, "--utilisation", str(args.utilisation), "--format", args.format]
    if args.study is None and args.plan:
        become("tasks.of_study.priced", *words, *settings, "--workspace", str(args.workspace))
    if args.study is None:
        studies = [load(name) for name in known_studies()]
        show(
            ("study", "recipe", "runs", "description"),
            [(study.name, study.recipe, len(runs(study, {})), study.description) for study in studies],
        )
        return
    runs(load(args.study), read_overrides(args.set), args.halving)
    settings += ["--halving"] if args.halving else []
    if args.plan:
        words += [] if args.budget is None else ["--budget", str(args.budget)]
        become("tasks.of_study.priced", args.study, *words, *settings, "--workspace", str(args.workspace))
    become("flows", "--study", args.study, *settings, "--workspace", str(args.workspace))
