"""`tinyllava ask`: ask a trained checkpoint about a picture, in a process of its own."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import become

HELP = "ask a trained checkpoint about a picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint folder")
    parser.add_argument("image", metavar="IMAGE", help="a picture file")
    parser.add_argument("question", metavar="QUESTION")


def act(args: argparse.Namespace) -> None:
    """Let the answerer take this process's place."""
    become("tinyllava_core.evaluate.ask", args.checkpoint, args.image, args.question)
