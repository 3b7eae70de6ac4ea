"""`tinyllava chat`: a page to talk to a trained checkpoint on, in a process of its own."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import become
from tinyllava_core.errors import BadInput

HELP = "a page to talk to a trained checkpoint on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a checkpoint folder, or a trained stage's artifact folder"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="who may come: 127.0.0.1 (this machine alone, default), 0.0.0.0"
    )
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="default: 7860; 0: any free one")
    parser.add_argument(
        "--max-new-tokens", type=int, default=256, metavar="N", help="end an answer there (default: 256)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def act(args: argparse.Namespace) -> None:
    """Let the page's server take this process's place."""
    from tinyllava_core.job import ChatJob

    check(args)
    named = {name: getattr(args, name) for name in ("checkpoint", "host", "port", "max_new_tokens", "device")}
    job = ChatJob(**named)
    become(job.MODULE, job.model_dump_json())


def check(args: argparse.Namespace) -> None:
    """Raises BadInput for numbers that cannot be."""
    if not 0 <= args.port <= 65535:
        raise BadInput(f"--port = {args.port}; expected 0 to 65535")
    if args.max_new_tokens < 1:
        raise BadInput(f"--max-new-tokens = {args.max_new_tokens}; expected 1 or more")
