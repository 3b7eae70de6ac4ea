"""Where a manifest's images come from: archives, tables of URLs, local folders, and image sets that several share.

Only what a person may write and whether it fits together; nothing is fetched or looked up here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tinyllava_core.data.manifest.fields import Name, Sha256, Url, exactly_one, relative
from tinyllava_core.data.manifest.hub import HubImages
from tinyllava_core.frozen import Frozen


class Archive(Frozen):
    """A zip or tar of images; unpacked."""

    url: Url
    sha256: Sha256 | None = Field(
        None, description="Of the archive, where it is published. null: recorded when downloaded."
    )
    bytes: int | None = Field(None, ge=0, description="Size of the archive.")
    into: str = Field("", description="Folder under the image root to unpack into.")
    strip: str = Field("", description="Leading folders of its members to take off; * stands for any one.")
    only: tuple[str, ...] = Field((), description="Patterns of the members to unpack, after that. Empty: all.")

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
    of_annotations: bool = Field(
        False,
        description="The source's own rows are the table: each has its picture's URL. Instead of `url` or `path`.",
    )
    sha256: Sha256 | None = Field(None, description="Of the table.")
    url_column: str = Field("url", description="Column with the image's URL.")
    name_column: str = Field(
        "name", description="Column with the image's path under the image root, as the records name it."
    )
    sha256_column: str | None = Field(
        None,
        description="Column with the sha256 of the picture's bytes: another picture is a failed row. Several rows may name one.",
    )
    min_success: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the rows that must come, or the download is an error. Links die with the years.",
    )
    distributor: Literal["multiprocessing", "pyspark", "ray"] = Field(
        "multiprocessing", description="What img2dataset spreads its work with. Changes nothing of what is fetched."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        exactly_one(self, "url", "path", "of_annotations")
        return self


class Images(Frozen):
    """One place that images come from: exactly one of archive, url_table, hub, folder, set, inside, embedded.

    Archives, tables, hubs and embedded pictures make one folder of the source's own, in which paths are looked up as they are
    written.
    """

    archive: Archive | None = None
    url_table: UrlTable | None = None
    hub: HubImages | None = None
    folder: str | None = Field(None, description="A local folder, relative to the manifest; used in place, not copied.")
    set: Name | tuple[Name, ...] | None = Field(
        None, description="An image set: a manifest with kind: images. Several: asked in their order."
    )
    inside: str | None = Field(
        None, description="A folder among the annotations, where pictures come with them. '.': theirs."
    )
    embedded: bool = Field(
        False,
        description="The pictures are in the rows themselves. A benchmark's scorer takes them out; a source's go into tars.",
    )
    prefix: str = Field(
        "", description="Leading folders of the records' paths that this folder or set stands for; taken off."
    )
    try_extensions: tuple[Annotated[str, StringConstraints(pattern=r"^\.[A-Za-z0-9]+$")], ...] = Field(
        (), description="Endings to try, in a folder or set, where the file as the record names it is not there."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        exactly_one(self, "archive", "url_table", "hub", "folder", "set", "inside", "embedded")
        if self.own and (self.prefix or self.try_extensions):
            raise ValueError(
                "prefix and try_extensions are for a folder or a set; an archive has `into`, a table its names"
            )
        if not relative(self.prefix) or self.prefix.endswith("/"):
            raise ValueError(f"prefix: {self.prefix!r}: expected relative folders without '..', as in coco/train2017")
        if not relative(self.inside or ""):
            raise ValueError(f"inside: {self.inside!r} leaves the annotations' folder; give a relative one")
        return self

    @property
    def own(self) -> bool:
        """Tell whether it is unpacked or fetched into the folder of the source itself."""
        return bool(self.archive or self.url_table or self.hub or self.embedded)

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of the image sets, in their order."""
        return () if self.set is None else (self.set,) if isinstance(self.set, str) else self.set


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
