"""`tinyllava chat`: a page to talk to a trained checkpoint on, in a process of its own."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_checkpoint, add_workspace, become
from tinyllava_core.errors import BadInput

HELP = "a page to talk to a trained checkpoint on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_checkpoint(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="who may come: 127.0.0.1 (this machine alone, default), 0.0.0.0"
    )
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="default: 7860; 0: any free one")
    parser.add_argument(
        "--max-new-tokens", type=int, default=256, metavar="N", help="end an answer there (default: 256)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Let the page's server take this process's place."""
    from tinyllava_core.artifact import Artifact
    from tinyllava_core.checkpoints import find, folder_of
    from tinyllava_core.data.shard.asked import first_questions
    from tinyllava_core.job import ChatJob

    check(args)
    found = find(args.workspace, args.checkpoint)
    shards = found.inputs_from("shard", args.workspace).get("shard") if isinstance(found, Artifact) else None
    starters = first_questions(shards.folder) if shards else ()  # what it was asked in training
    named = {name: getattr(args, name) for name in ("host", "port", "max_new_tokens", "device")}
    job = ChatJob(checkpoint=folder_of(found), starters=tuple(starters), **named)
    become(job.MODULE, job.model_dump_json())


def check(args: argparse.Namespace) -> None:
    """Raises BadInput for numbers that cannot be."""
    if not 0 <= args.port <= 65535:
        raise BadInput(f"--port = {args.port}; expected 0 to 65535")
    from tinyllava_core.data.web.door import is_taken

    if args.port and is_taken(args.host, args.port):
        raise BadInput(f"--port = {args.port}: something listens there already; name another, or 0 for any free one")
    if args.max_new_tokens < 1:
        raise BadInput(f"--max-new-tokens = {args.max_new_tokens}; expected 1 or more")
