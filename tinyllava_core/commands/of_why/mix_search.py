"""`tinyllava mix-search`: which mix of a study's records would be better, and whether trainings in several orders show it."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_overrides, add_workspace, become

HELP = "search the mixes of a study: merged experts foretell, trainings in several orders confirm"
DESCRIPTION = (
    "Trains an expert on each group of records; the share-weighted mean of their weights stands for any mix. The best are trained in all "
    "orders of the study, beside the mix as it is. A study with a section `mixes`."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("study", metavar="STUDY", help="a name, or a path to a YAML file")
    add_overrides(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Check the study; then let the flow take this process's place. Raises BadInput if it searches no mixes."""
    from tinyllava_core.recipe import read_overrides
    from tinyllava_core.study.grid import load, runs

    study = load(args.study)
    _ = study.searching
    runs(study, read_overrides(args.set))
    settings = [word for setting in args.set for word in ("--set", setting)]
    become("flows", "--mixes", args.study, *settings, "--workspace", str(args.workspace))
