"""`tinyllava data diff`: what one inspection of a source has that another has not."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_format, add_workspace
from tinyllava_core.commands.of_data.stats import inspected
from tinyllava_core.show import show

HELP = "compare two sources, or two inspections of one: records that came, went, or changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    help_text = "a manifest's name, a path to one, or the folder of an inspection"
    parser.add_argument("before", metavar="BEFORE", help=help_text)
    parser.add_argument("after", metavar="AFTER", help=help_text)
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Compare and show. Raises BadInput if one of them was not inspected in the workspace."""
    from tinyllava_core.data.inspect.changes import compare

    found = compare(inspected(args.before, args.workspace), inspected(args.after, args.workspace))
    told = [
        ("same", found.same, ()),
        ("added", found.added, found.some_added),
        ("removed", found.removed, found.some_removed),
        ("changed", found.changed, found.some_changed),
    ]
    show(
        ("records", "number", "for example"),
        [(word, number, ", ".join(ids) or None) for word, number, ids in told],
        args.format,
    )
