"""`tinyllava study`: run every variant of a recipe, in a process of its own; without a name, list the studies."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_overrides, add_workspace, become
from tinyllava_core.show import show

HELP = "run every variant of a study: one table, its figures"
DESCRIPTION = "Without a name: list the studies that come with the package."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="a name, or a path to a YAML file")
    add_overrides(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Check every recipe of the study; then let the flow take this process's place."""
    from tinyllava_core.recipe import read_overrides
    from tinyllava_core.study.grid import known_studies, load, runs

    if args.study is None:
        studies = [load(name) for name in known_studies()]
        show(
            ("study", "recipe", "runs", "description"),
            [(study.name, study.recipe, len(runs(study, {})), study.description) for study in studies],
        )
        return
    runs(load(args.study), read_overrides(args.set))
    settings = [word for setting in args.set for word in ("--set", setting)]
    become("flows", "--study", args.study, *settings, "--workspace", str(args.workspace))
