"""`tinyllava data list`: every source, image set and benchmark that comes with the package."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_format
from tinyllava_core.show import Row, show

if TYPE_CHECKING:
    from tinyllava_core.data.manifest.manifest import Manifest

HELP = "list sources, image sets and benchmarks: how much, under which licence, what they need"
KINDS = ("source", "images", "benchmark")
COLUMNS = ("name", "kind", "records", "files", "size", "licence", "needs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--kind", choices=KINDS, help="only one kind of manifest")
    add_format(parser)


def act(args: argparse.Namespace) -> None:
    """List them."""
    from tinyllava_core.data.manifest.manifest import known, load

    manifests = sorted(map(load, known()), key=lambda manifest: (KINDS.index(manifest.kind), manifest.name))
    wanted = [manifest for manifest in manifests if args.kind in (None, manifest.kind)]
    show(COLUMNS, list(rows(wanted)), args.format)


def rows(manifests: list[Manifest]) -> Iterator[Row]:
    """Give one row for each manifest; what nobody knows stays empty."""
    from tinyllava_core.room import in_words

    for manifest in manifests:
        records = manifest.annotations.count if manifest.annotations else None
        left_out = sum(part.count or 0 for part in manifest.components if not part.take)
        size = manifest.size_bytes()
        yield (
            manifest.name,
            manifest.kind,
            records - left_out if records is not None else None,
            manifest.files,
            in_words(size) if size else f"~{in_words(manifest.about_gb * 1e9)}" if manifest.about_gb else None,
            manifest.licence,
            ", ".join((*manifest.sets, *_other_needs(manifest))) or None,
        )


def _other_needs(manifest: Manifest) -> Iterator[str]:
    from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS

    if manifest.manual:
        yield "a person"
    row = BENCHMARKS.get(manifest.scorer or "")
    if row is not None and row.variant(manifest.variant).judged:
        yield "a judge"
