"""`tinyllava tune`: train a checkpoint further on one's own data."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_checkpoint, add_overrides, add_workspace, become_run

HELP = "train a checkpoint further on your own data"
MORE = "data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_checkpoint(parser)
    parser.add_argument("data", nargs="+", metavar="MANIFEST", help="sources: names, or paths to your own manifests")
    add_overrides(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Lay the recipe out here, before anything heavy starts; then let the flow take this process's place."""
    from tinyllava_core.recipe import read_overrides
    from tinyllava_core.roads import tuning

    become_run(*tuning(args.workspace, args.checkpoint, args.data, read_overrides(args.set)), args.workspace)
