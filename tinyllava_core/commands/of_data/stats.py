"""`tinyllava data stats`: what a source is made of, by component."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_format, add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.paths import expanded
from tinyllava_core.show import Row, show

if TYPE_CHECKING:
    from tinyllava_core.data.inspect.stats import Stats

HELP = "count a source's records, turns, pictures and drops, by component"
COLUMNS = (
    "component",
    "records",
    "turns",
    "characters",
    "pictures",
    "distinct",
    "size",
    "median w x h",
    "longest aspect",
    "text only",
    "mended",
    "noted",
    "dropped",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="a manifest's name, or a path to one")
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Count and show. Raises BadInput if the source was not inspected in the workspace."""
    from tinyllava_core.data.inspect.stats import count

    show(COLUMNS, list(rows(count(inspected(args.source, args.workspace)))), args.format)


def inspected(source: str, workspace: Path) -> Path:
    """Find the newest inspection of a source. Raises BadInput if there is none."""
    from tinyllava_core.data.manifest.located import newest
    from tinyllava_core.data.manifest.manifest import load

    if (Path(source) / "records.parquet").is_file():
        return Path(source)
    name, place = load(source).name, expanded(workspace).resolve()
    found = newest(place, "inspect", name)
    if found is None:
        raise BadInput(
            f"{name!r} was not inspected in workspace {place}: run a recipe that uses it, or give --workspace"
        )
    return found[0]


def rows(components: dict[str, Stats]) -> Iterator[Row]:
    """Give a row for each component."""
    from tinyllava_core.room import in_words

    for name, found in components.items():
        size, aspect = found.median_size(), found.longest_aspect()
        dropped = ", ".join(f"{number} {reason}" for reason, number in found.dropped.most_common())
        yield (
            name,
            found.records,
            found.turns,
            found.chars,
            found.pictures,
            found.distinct_pictures,
            in_words(found.size_bytes) if found.pictures else None,
            f"{size[0]} x {size[1]}" if size else None,
            round(aspect, 1) if aspect is not None else None,
            found.text_only,
            found.repaired,
            found.noted,
            dropped or None,
        )
