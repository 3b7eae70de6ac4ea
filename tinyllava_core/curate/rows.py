"""The good records of a source, to be judged one by one: their words and pictures. It judges none and changes none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.small import small
from tinyllava_core.data.manifest.located import locate
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.errors import BadInput

SIDE, QUALITY = (
    672,
    90,
)  # of a picture as it is sent: pixels of its longer side (LLaVA-NeXT's, 2 x 336), and of the JPEG


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record."""

    record_id: str
    turns: tuple[Turn, ...]
    pictures: tuple[str, ...]  # paths, as the record names them
    picture_sha256: tuple[str, ...]

    @property
    def asked(self) -> str:
        """Give what the user says, without the pictures' marks."""
        return self._said_by("user").replace(IMAGE_TAG, "").strip()

    @property
    def answered(self) -> str:
        """Give what is learned."""
        return self._said_by("assistant")

    def _said_by(self, role: str) -> str:
        return "\n".join(turn.text for turn in self.turns if turn.role == role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source that was inspected."""

    name: str
    inspected: Path
    images: ImagePlaces

    def rows(self) -> Iterator[Row]:
        """Read its good records, in their order."""
        with pq.ParquetFile(self.inspected / "records.parquet") as file:
            for batch in file.iter_batches(1024, columns=["record_id", "turns", "images"]):
                for one in batch.to_pylist():
                    yield Row(
                        record_id=one["record_id"],
                        turns=tuple(Turn(**turn) for turn in one["turns"]),
                        pictures=tuple(image["path"] for image in one["images"]),
                        picture_sha256=tuple(image["sha256"] for image in one["images"]),
                    )

    def jpeg(self, path: str) -> bytes:
        """Give one of its pictures as it is sent. Raises BadInput if the file is gone."""
        found = small(self.images.find(path), SIDE, QUALITY)
        if found is None:
            raise BadInput(
                f"{self.name}: picture {path} cannot be read any more: {self.images.told()}; run its recipe again"
            )
        return found


def source_of(manifest: Manifest, workspace: Path) -> Source:
    """Find a source in a workspace. Raises BadInput if it was not inspected there."""
    located = locate(manifest, workspace)
    if located.inspected is None:
        raise BadInput(
            f"{manifest.name}: not inspected in workspace {workspace}, so it is not known which records are good; "
            "`python -m flows RECIPE --until-plan` with a recipe that uses it does that, without a GPU"
        )
    return Source(name=manifest.name, inspected=located.inspected, images=located.images)
