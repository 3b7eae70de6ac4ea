"""`tinyllava down`: end what `tinyllava up` started."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_workspace, become

HELP = "end what `tinyllava up` started: the worker, with its runs, and the server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Let the one that ends them take this process's place."""
    become("tasks.running.stay", "down", "--workspace", str(args.workspace))
