"""Image places: where on this disk the image files are that records name by a path. It opens no file, judges no record.

Records of one source name pictures of several archives (`coco/train2017/...`, `gqa/images/...`), and several sources
share one archive; so a path's leading folders say whose it is, and what is left of it is looked up in that one's folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import Field

from tinyllava_core.data.files.archive import safe_path
from tinyllava_core.frozen import Frozen

_PIECE = re.compile(r"(\d{1,15})-(\d{1,15})\.\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An image that is a piece of a tar: so many bytes from one on."""

    file: Path
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """Read it. Raises OSError, as a file does."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        """Say it for a message."""
        return f"{self.file}, bytes {self.offset} to {self.offset + self.size}"


def piece_name(offset: int, size: int, ending: str) -> str:
    """Name a piece within its tar."""
    return f"{offset}-{size}{ending}"


def _piece(named: Path) -> Piece | None:
    """Read a path such as pictures.tar/1536-20480.jpg as a piece; None if it is not one, or its tar is shorter."""
    found = _PIECE.fullmatch(named.name)
    if named.parent.suffix != ".tar" or found is None or not named.parent.is_file():
        return None
    piece = Piece(file=named.parent, offset=int(found[1]), size=int(found[2]))
    return piece if piece.offset + piece.size <= piece.file.stat().st_size else None


class ImagePlace(Frozen):
    """One folder of image files, and the leading folders of the paths that are looked up in it."""

    prefix: str = Field("", description="Leading folders of a record's path, taken off before the look-up. '': none.")
    folder: Path = Field(description="Absolute.")
    try_extensions: tuple[str, ...] = Field(
        (),
        description="Endings to try where the file as named is not there: OCR-VQA's records say .jpg, some are .gif.",
    )

    def inside(self, path: PurePosixPath) -> PurePosixPath | None:
        """Give what is left of `path` behind the prefix; None if it does not begin with it, whole folders compared."""
        prefix = PurePosixPath(self.prefix)
        return path.relative_to(prefix) if path.is_relative_to(prefix) and path != prefix else None


class ImagePlaces(Frozen):
    """All places that one source or benchmark has images in, asked in their order."""

    places: tuple[ImagePlace, ...] = ()

    @classmethod
    def one(cls, folder: Path) -> ImagePlaces:
        """Make the simplest ones: every path is relative to one folder."""
        return cls(places=(ImagePlace(folder=folder),))

    def find(self, path: str) -> Path | None:
        """Give the file that a record names; None if no place has it, or if the path would leave its folder."""
        found = self.look_up(path)
        return found if isinstance(found, Path) else None

    def look_up(self, path: str) -> Path | Piece | None:
        """Give the file or the piece of a tar that a record names; None as `find` does."""
        wanted = safe_path(path) if path else None
        if wanted is None:
            return None
        for place in self.places:
            inside = place.inside(wanted)
            if inside is None:
                continue
            named = place.folder / inside
            tries = (named, *(named.with_suffix(ending) for ending in place.try_extensions))
            if found := next((file for file in tries if file.is_file()), None):
                return found
            if ".tar/" in path and (piece := _piece(named)):
                return piece
        return None

    def known(self, path: str) -> bool:
        """Tell whether any place stands for paths like this one, its file there or not."""
        wanted = safe_path(path) if path else None
        return wanted is not None and any(place.inside(wanted) is not None for place in self.places)

    def told(self) -> str:
        """Say in one line what is looked up where, for an error text."""
        return ", ".join(f"{place.prefix or '*'} -> {place.folder}" for place in self.places) or "no place"
