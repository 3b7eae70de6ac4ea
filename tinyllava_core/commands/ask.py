"""`tinyllava ask`: ask a trained checkpoint about pictures, in a process of its own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_checkpoint, add_workspace, become
from tinyllava_core.errors import BadInput

if TYPE_CHECKING:
    from tinyllava_core.job import AskJob

HELP = "ask a trained checkpoint about pictures"
MORE = "words"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_checkpoint(parser)
    parser.add_argument(
        "words", nargs="*", metavar="IMAGE... QUESTION", help="pictures, if any; then the question, in quotes"
    )
    parser.add_argument(
        "--batch", metavar="FILE", help='answer a file of lines {"question": ..., "image": path or paths}'
    )
    parser.add_argument(
        "--out", metavar="FILE", help="where the answers to --batch go; what it has already is not asked again"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="questions answered together (default: 16)"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=128, metavar="N", help="end an answer there (default: 128)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Let the answerer take this process's place."""
    check(args)
    args.checkpoint = named_checkpoint(args)
    job = job_of(args)
    missing = next((image for image in job.images if not image.expanduser().is_file()), None)
    if missing is not None:
        raise BadInput(f"{missing}: no such picture; the last word is the question, all before it are pictures")
    become(job.MODULE, job.model_dump_json())


def named_checkpoint(args: argparse.Namespace) -> str:
    """Give the folder that the word for a checkpoint names. Raises BadInput if it names none."""
    from tinyllava_core.checkpoints import find, folder_of

    return str(folder_of(find(args.workspace, args.checkpoint)))


def job_of(args: argparse.Namespace) -> AskJob:
    """Turn the words into the answerer's job."""
    from tinyllava_core.job import AskJob

    *images, question = args.words or [""]
    named = {
        name: getattr(args, name) for name in ("checkpoint", "batch", "out", "batch_size", "max_new_tokens", "device")
    }
    return AskJob(images=tuple(images), question=question, **named)


def check(args: argparse.Namespace) -> None:
    """Raises BadInput unless there is one question, or a file of them and one for the answers."""
    if (args.batch is None) != (args.out is None):
        raise BadInput("--batch and --out belong together: a file of questions, and one for the answers")
    if args.batch is not None and args.words:
        raise BadInput(f"with --batch the questions are in the file; found {args.words[-1]!r} besides")
    if args.batch is None and not args.words:
        raise BadInput('no question; expected: tinyllava ask CHECKPOINT [IMAGE ...] "question"')
    if args.batch is None and not args.words[-1].strip():
        raise BadInput("the question is empty; type one, in quotes")
    for name in ("batch_size", "max_new_tokens"):
        if getattr(args, name) < 1:
            raise BadInput(f"--{name.replace('_', '-')} = {getattr(args, name)}; expected 1 or more")
