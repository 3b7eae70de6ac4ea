"""`tinyllava data diff`: what one inspection of a source has that another has not."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_format, add_workspace
from tinyllava_core.commands.of_data.stats import inspected
from tinyllava_core.show import Row, show

HELP = "compare two sources, or two inspections of one: records that came, went, or changed, by component"


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
    some = (f"+ {name}" for name in found.some_added), (f"- {name}" for name in found.some_removed)
    examples = ", ".join([*some[0], *some[1], *(f"~ {name}" for name in found.some_changed)])
    rows: list[Row] = [(name, *numbers, None) for name, numbers in found.components.items()]
    rows.append(("all", found.same, found.added, found.removed, found.changed, examples or None))
    show(("component", "same", "added", "removed", "changed", "for example"), rows, args.format)
