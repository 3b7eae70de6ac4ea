"""`tinyllava gc`: what a workspace weighs, and what no run needs. It removes nothing without --delete."""

from __future__ import annotations

import argparse
import sys

from tinyllava_core.commands.arguments import add_format, add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.show import show

HELP = "say what the workspace weighs and what no run needs; remove that with --delete"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--keep", type=int, metavar="N", help="keep what the newest N runs need (default: all runs)")
    parser.add_argument("--delete", action="store_true", help="remove what is not needed, the download cache too")
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Show the weights, stage by stage; remove what nothing needs if that is asked for."""
    from tinyllava_core.disk import remove, weigh

    if args.keep is not None and args.keep < 1:
        raise BadInput(f"--keep {args.keep}: expected 1 or more; to remove everything, remove the folder")
    workspace = args.workspace.expanduser().resolve()
    if not workspace.is_dir():
        raise BadInput(f"{args.workspace}: no such workspace; name one with --workspace")
    things = weigh(workspace, args.keep)
    rows = []
    for what in dict.fromkeys(thing.what for thing in things):
        mine = [thing for thing in things if thing.what == what]
        free = [thing for thing in mine if not thing.needed]
        rows.append((what, len(mine), _mb(mine), len(free), _mb(free)))
    show(("what", "number", "MB", "not needed", "MB not needed"), rows, args.format)
    free = [thing for thing in things if not thing.needed]
    if args.format == "table" and things:
        print(
            f"\nin all {len(things):,} things, {_mb(things):,.1f} MB, of which runs need {_mb([thing for thing in things if thing.needed]):,.1f} MB"
        )
    if args.delete:
        for line in remove(workspace, free):
            print(line, file=sys.stderr)
    if args.format == "table" and free:
        told = f"{len(free)} thing{'s' * (len(free) > 1)}, {_mb(free):,.1f} MB"
        print(f"removed {told}" if args.delete else f"`tinyllava gc --delete` removes {told}; --keep N keeps less")


def _mb(things: list) -> float:  # type: ignore[type-arg]
    return round(sum(thing.size_bytes for thing in things) / 1e6, 1)
