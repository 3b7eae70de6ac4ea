"""`tinyllava attribute`: keep what ties a checkpoint's answers to the records that trained it, and hold it against retraining."""

from __future__ import annotations

import argparse
import json

from tinyllava_core.commands.arguments import add_checkpoint, add_workspace, become
from tinyllava_core.errors import BadInput

HELP = "keep a small gradient of every record of a checkpoint's plan, for `tinyllava why`"
DESCRIPTION = (
    "A forward pass over the records and over the answers of the benchmarks that it was evaluated on. With --halves it is "
    "checked: so many random halves of the records are trained on, each in --orders orders."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_checkpoint(parser)
    parser.add_argument(
        "--layers", action="store_true", help="gradients of all linear layers too, by a backward pass; larger, slower"
    )
    parser.add_argument(
        "--halves", type=int, default=0, metavar="N", help="check it on N random halves (default: 0, unchecked)"
    )
    parser.add_argument(
        "--orders", type=int, default=3, metavar="N", help="orders that each is trained in (default: 3)"
    )
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Let the flow take this process's place. Raises BadInput first, where the checkpoint is none that was trained here."""
    from tinyllava_core.why.found import evaluations_of, recipe_of, trained

    if args.halves < 0 or args.halves == 1 or args.orders < 1:
        raise BadInput(
            f"--halves {args.halves} --orders {args.orders}: expected 0 or at least 2 halves, and 1 or more orders"
        )
    training = trained(args.workspace, args.checkpoint)
    recipe_of(args.workspace, training)
    evaluations_of(args.workspace, training)
    asked = {"layers": args.layers, "halves": args.halves, "orders": args.orders}
    become("flows", training.fingerprint, "--attribute", json.dumps(asked), "--workspace", str(args.workspace))
