"""`tinyllava evaluate`: score a checkpoint on benchmarks, with lineage and report as in a run."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_checkpoint, add_overrides, add_workspace, become_run

HELP = "score a checkpoint on benchmarks, as a run does"
MORE = "benchmarks"
DESCRIPTION = "Without benchmarks: those of the run that trained the checkpoint."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_checkpoint(parser)
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help="names (`tinyllava data list`), or paths")
    add_overrides(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Lay the recipe out here, before anything heavy starts; then let the flow take this process's place."""
    from tinyllava_core.recipe import read_overrides
    from tinyllava_core.roads import evaluation

    become_run(*evaluation(args.workspace, args.checkpoint, args.benchmarks, read_overrides(args.set)), args.workspace)
