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

HELP = "count a source's records, turns, tokens, pictures, duplicates and drops, by component"
PAGE = Path(__file__).with_name("stats.html")
COLUMNS = (
    "component",
    "records",
    "turns",
    "characters",
    "tokens",
    "duplicates",
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
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="count the turns' tokens too, as this folder's tokenizer.json cuts",
    )
    parser.add_argument("--out", type=Path, metavar="PAGE.html", help="write a page instead of a table")
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Count and show. Raises BadInput if the source was not inspected in the workspace."""
    from tinyllava_core.data.inspect.stats import count
    from tinyllava_core.tokenizer import Tokenizer

    if args.out is not None and args.out.suffix != ".html":
        raise BadInput(f"--out {args.out}: expected the name of a page, such as stats.html")
    tokenizer = Tokenizer(expanded(args.tokenizer)) if args.tokenizer else None
    found = count(inspected(args.source, args.workspace), tokenizer)
    told = list(rows(found, with_tokens=tokenizer is not None))
    if args.out is None:
        show(COLUMNS, told, args.format)
        return
    from tinyllava_core.artifact import write_aside
    from tinyllava_core.report.html import render

    args.out.parent.mkdir(parents=True, exist_ok=True)
    page = render(PAGE, source=args.source, columns=COLUMNS, rows=told, components=found)
    write_aside(args.out, page)
    print(f"page      {args.out}")


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


def rows(components: dict[str, Stats], *, with_tokens: bool = False) -> Iterator[Row]:
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
            found.tokens if with_tokens else None,
            found.duplicates,
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
