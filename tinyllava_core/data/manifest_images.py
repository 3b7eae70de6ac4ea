"""Where a manifest's images come from: archives, tables of URLs, local folders, and image sets that several share.

Only what a person may write and whether it fits together; nothing is fetched or looked up here.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from tinyllava_core.frozen import Frozen

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, StringConstraints(pattern=r"^(https?|toyworld)://[^/\s]+/\S+$")]
Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")
]  # no dots: WebDataset keys and record ids hang on it


class Archive(Frozen):
    """A zip or tar of images; unpacked."""

    url: Url
    sha256: Sha256 | None = Field(
        None, description="Of the archive, where it is published. null: recorded when downloaded."
    )
    bytes: int | None = Field(None, ge=0, description="Size of the archive.")
    into: str = Field("", description="Folder under the image root to unpack into.")

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        if not relative(self.into):
            raise ValueError(f"into: {self.into!r} leaves the image root; give a relative folder")
        return self


class UrlTable(Frozen):
    """A table with one image URL a row; fetched through img2dataset. Failed rows are kept under a reason."""

    url: Url | None = Field(
        None, description="Where to download the table. Relative image URLs are resolved against it. Or `path`."
    )
    path: str | None = Field(None, description="A local table, relative to the manifest. Or `url`.")
    sha256: Sha256 | None = Field(None, description="Of the table.")
    url_column: str = Field("url", description="Column with the image's URL.")
    name_column: str = Field(
        "name", description="Column with the image's path under the image root, as the records name it."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        exactly_one(self, "url", "path")
        return self


class Images(Frozen):
    """One place that images come from: exactly one of archive, url_table, folder, set.

    Archives and tables make one folder of the source's own, in which paths are looked up as they are written.
    """

    archive: Archive | None = None
    url_table: UrlTable | None = None
    folder: str | None = Field(None, description="A local folder, relative to the manifest; used in place, not copied.")
    set: Name | tuple[Name, ...] | None = Field(
        None, description="An image set: a manifest with kind: images. Several: asked in their order."
    )
    prefix: str = Field(
        "", description="Leading folders of the records' paths that this folder or set stands for; taken off."
    )
    try_extensions: tuple[Annotated[str, StringConstraints(pattern=r"^\.[A-Za-z0-9]+$")], ...] = Field(
        (), description="Endings to try, in a folder or set, where the file as the record names it is not there."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        exactly_one(self, "archive", "url_table", "folder", "set")
        if self.own and (self.prefix or self.try_extensions):
            raise ValueError(
                "prefix and try_extensions are for a folder or a set; an archive has `into`, a table its names"
            )
        if not relative(self.prefix) or self.prefix.endswith("/"):
            raise ValueError(f"prefix: {self.prefix!r}: expected relative folders without '..', as in coco/train2017")
        return self

    @property
    def own(self) -> bool:
        """Tell whether it is unpacked or fetched into the folder of the source itself."""
        return self.archive is not None or self.url_table is not None

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of the image sets, in their order."""
        return () if self.set is None else (self.set,) if isinstance(self.set, str) else self.set


def relative(path: str) -> bool:
    """Tell whether a path stays inside the folder it is relative to."""
    return not path.startswith("/") and "\\" not in path and ".." not in PurePosixPath(path).parts


def check_prefixes(images: tuple[Images, ...]) -> None:
    """Raises ValueError if two places stand for the same paths: which one is meant could not be told."""
    taken: dict[str, int] = {}
    for number, entry in enumerate(images):
        first = taken.setdefault(entry.prefix, number)
        if first != number and not (entry.own and images[first].own):
            raise ValueError(
                f"images: entries {first} and {number} both stand for the prefix {entry.prefix!r}; give each folder or set "
                "a prefix of its own (archives and tables share one, '')"
            )


def exactly_one(model: Any, *fields: str) -> None:
    """Raises ValueError unless exactly one of the fields is given."""
    given = [field for field in fields if getattr(model, field) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ValueError(f"expected exactly one of {', '.join(fields)}; found {found}")
