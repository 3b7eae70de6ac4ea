"""`tinyllava data preview`: a contact sheet of a source's records, one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.paths import expanded

if TYPE_CHECKING:
    from tinyllava_core.data.inspect.preview import Preview
    from tinyllava_core.data.plan.reading import Reading

HELP = "look at a few records of a source: writes one HTML page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="a manifest's name, or a path to one")
    parser.add_argument("--count", type=int, default=12, help="records to show (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="which ones: the same seed shows the same (default: 0)")
    parser.add_argument("--dropped", action="store_true", help="show records that cannot be trained on, and why")
    parser.add_argument("--recipe", metavar="RECIPE", help="show each record as this recipe's model reads it, too")
    parser.add_argument("--stage", help="in this stage of it (default: its last)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write (default: ./preview-SOURCE.html)")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Choose, judge and write. Raises BadInput if the source is not on this disk."""
    from tinyllava_core.artifact import check_workspace
    from tinyllava_core.data.inspect.preview import preview
    from tinyllava_core.data.manifest.manifest import load
    from tinyllava_core.report.preview import write_preview

    if args.count < 1:
        raise BadInput(f"--count {args.count}: expected 1 or more")
    manifest = load(args.source)
    check_workspace(args.workspace)
    found = preview(manifest, expanded(args.workspace).resolve(), args.count, args.seed, args.dropped)
    readings = _readings(found, args.recipe, args.stage) if args.recipe else {}
    out = args.out or Path(f"preview-{manifest.name}{'-dropped' if args.dropped else ''}.html")
    write_preview(found, args.dropped, args.seed, out, readings)
    what = "dropped records" if args.dropped else "records"
    print(
        f"{out}: {len(found.shown)} {what} of {manifest.name}, {found.num_searched:,} of {found.num_records:,} looked at"
    )


def _readings(found: Preview, name: str, stage: str | None) -> dict[str, Reading]:
    """Read the good records as a stage of a recipe does."""
    from tinyllava_core.data.plan.reading import Reader
    from tinyllava_core.recipe import load

    recipe = load(name)
    if not recipe.stages():
        raise BadInput(f"--recipe {name}: it trains nothing, so it reads no records")
    reader = Reader(recipe, stage or recipe.stages()[-1])
    return {
        one.record_id: reader.read(one.turns, [shown.size for shown in one.pictures])
        for one in found.shown
        if one.reason is None
    }
