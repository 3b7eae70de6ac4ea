"""`tinyllava run`: run the whole pipeline on a recipe, in a process of its own."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_overrides, add_workspace, become

HELP = "run the whole pipeline on a recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a name (`tinyllava recipes`), or a path to a YAML file")
    add_overrides(parser)
    add_workspace(parser)
    parser.add_argument(
        "--until-plan", action="store_true", help="stop when every training stage is planned: no GPU is needed"
    )


def act(args: argparse.Namespace) -> None:
    """Check the input here, before anything heavy starts; then let the flow take this process's place."""
    from tinyllava_core.recipe import load, read_overrides

    load(args.recipe, read_overrides(args.set))
    settings = [word for setting in args.set for word in ("--set", setting)]
    end = ["--until-plan"] if args.until_plan else []
    become("flows", args.recipe, *settings, "--workspace", str(args.workspace), *end)
