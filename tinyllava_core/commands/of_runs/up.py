"""`tinyllava up`: Prefect's pages and a worker that stay, without a clone and its Makefile."""

from __future__ import annotations

import argparse
from pathlib import Path

import tinyllava_core
from tinyllava_core.commands.arguments import add_workspace, become

HELP = "start Prefect's pages and a worker that stay, with the flows deployed"
DESCRIPTION = (
    "Then `prefect deployment run tinyllava/full-pipeline --watch`. They belong to one workspace, on this machine; "
    "PREFECT_API_URL=http://127.0.0.1:PORT/api for another port than 4200. `tinyllava down` ends them."
)
DEPLOYED = Path(tinyllava_core.__file__).parents[1] / "flows" / "prefect.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_workspace(parser)
    parser.add_argument(
        "--where", action="store_true", help="only say where the deployments are written, for `prefect deploy`"
    )


def act(args: argparse.Namespace) -> None:
    """Let the starter take this process's place."""
    if args.where:
        print(DEPLOYED)
        return
    become("tasks.running.stay", "up", "--workspace", str(args.workspace))
