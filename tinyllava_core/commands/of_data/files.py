"""`tinyllava data files`: the files that a source's rows are in, by subset, and how big they are, before one is fetched."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.show import Row, show

if TYPE_CHECKING:
    from tinyllava_core.data.download.embedded.repo import File
    from tinyllava_core.data.manifest.manifest import Manifest

HELP = "list the subsets of a hub's data set, their files and sizes; fetches none of them"
COLUMNS = ("subset", "component", "files", "size", "bytes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "source", metavar="SOURCE", help="a manifest's name, a path to one, or a part: finevision/charts"
    )
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Ask and show. Raises BadInput if the source's rows are not a hub's, or the hub wants something of a person."""
    from tinyllava_core.data.download.embedded.repo import chosen, hub_repo
    from tinyllava_core.data.manifest.manifest import load
    from tinyllava_core.data.web.patience import Patience
    from tinyllava_core.room import in_words

    manifest = load(args.source)
    hub = manifest.annotations.hub if manifest.annotations else None
    if hub is None or not any(entry.embedded for entry in manifest.images):
        raise BadInput(
            f"{manifest.name!r}: its rows are not a hub's, with pictures embedded; `tinyllava data list` has its size"
        )
    with tempfile.TemporaryDirectory() as work:
        pins = Path(work) / "revisions.json"  # a copy: looking pins nothing
        known = args.workspace.expanduser() / "cache" / pins.name
        if known.is_file():
            shutil.copyfile(known, pins)
        repo = hub_repo(hub, manifest.local("."), Path(work), pins, Patience(attempts=2))
        files = chosen(repo, hub)
    show(COLUMNS, list(rows(manifest, files)), args.format)
    if args.format == "table":
        total = in_words(sum(file.size_bytes for file in files))
        print(f"{repo.repo} at {repo.commit or 'what the folder has now'}: {len(files):,} files, {total}")


def rows(manifest: Manifest, files: list[File]) -> Iterator[Row]:
    """Give a row for each subset."""
    from tinyllava_core.data.manifest.component import subset_name
    from tinyllava_core.room import in_words

    for subset in dict.fromkeys(file.subset for file in files):
        sizes = [file.size_bytes for file in files if file.subset == subset]
        claimed = next((part.name for part in manifest.components if part.claims((), subset or None)), None)
        yield (
            subset or "default",
            claimed or (subset_name(subset) if subset else manifest.name),
            len(sizes),
            in_words(sum(sizes)),
            sum(sizes),
        )
