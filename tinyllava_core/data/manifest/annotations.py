"""Where a manifest's records or questions come from: one file, several, or an archive that holds them."""

from __future__ import annotations

from collections import Counter
from typing import Self

from pydantic import Field, model_validator

from tinyllava_core.data.manifest.fields import Sha256, Url, relative
from tinyllava_core.data.manifest.hub import HubRows
from tinyllava_core.data.web.fetch import file_places
from tinyllava_core.frozen import Frozen
from tinyllava_core.secret import without_secrets


class OfficialFile(Frozen):
    """One of several files that a benchmark's publisher gives: questions, answers, splits."""

    url: Url
    sha256: Sha256 | None = Field(
        None, description="Of the file, where it is published. null: recorded when downloaded."
    )
    bytes: int | None = Field(None, ge=0, description="Size of the file.")
    unpack: bool = Field(False, description="It is a zip or tar; what is in it is wanted.")
    only: tuple[str, ...] = Field((), description="Patterns of the members to unpack. Empty: all.")

    @model_validator(mode="after")
    def _unpacks_some(self) -> Self:
        if self.only and not self.unpack:
            raise ValueError("only is for what is unpacked: set unpack: true, or remove it")
        return self


class Annotations(Frozen):
    """The annotation file of a source, or the official question file of a benchmark; or a folder, where there are several.

    Exactly one of url, path, files and hub says where they are, unless the manifest is `manual`.
    """

    url: Url | None = Field(None, description="Where to download it.")
    path: str | None = Field(None, description="A local file or folder, relative to the manifest; used in place.")
    files: tuple[OfficialFile, ...] = Field((), description="Several files, which come into one folder.")
    hub: HubRows | None = Field(None, description="Rows of a dataset in Parquet on a hub; they become JSON lines.")
    unpack: bool = Field(False, description="The URL is a zip or tar; what is in it is wanted.")
    only: tuple[str, ...] = Field((), description="Patterns of its members to unpack. Empty: all.")
    root: str = Field("", description="Of several files, an archive or a folder: the folder in it that all else is in.")
    file: str | None = Field(None, description="Of such a folder: the one file that is read. null: the whole folder.")
    sha256: Sha256 | None = Field(
        None, description="Of the file, where it is published. null: recorded when downloaded."
    )
    bytes: int | None = Field(None, ge=0, description="Size of the file.")
    format: str | None = Field(
        None,
        description="A source's parser: a key of data/record/formats.py's FORMATS. null: told by the first records. A benchmark's is its scorer.",
    )
    count: int | None = Field(None, ge=0, description="Records in the file, where it is known.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for key in ("root", "file"):
            if not relative(getattr(self, key) or ""):
                raise ValueError(f"{key}: {getattr(self, key)!r} leaves the folder; give a relative path")
        if self.unpack and self.url is None:
            raise ValueError("unpack is for url; of several files, each says it itself")
        if self.only and not self.unpack:
            raise ValueError("only is for what is unpacked: set unpack: true, or remove it")
        if self.files and (self.sha256 or self.bytes):
            raise ValueError("sha256 and bytes are of one file; of several, each says its own")
        if self.hub and (self.sha256 or self.bytes):
            raise ValueError("sha256 and bytes are of a file; of a hub's rows, pin the revision")
        plain = Counter(without_secrets(file.url) for file in self.files if not file.unpack)
        if twice := next((url for url, times in plain.items() if times > 1), None):
            raise ValueError(f"files: {twice} stands twice; its records would be there twice: leave one out")
        return self

    @property
    def makes_folder(self) -> bool:
        """Tell whether what is downloaded becomes a folder rather than one file."""
        return bool(self.files) or self.unpack

    def downloads(self) -> list[OfficialFile]:
        """List what there is to download."""
        if self.url is None:
            return list(self.files)
        one = OfficialFile(url=self.url, sha256=self.sha256, bytes=self.bytes, unpack=self.unpack, only=self.only)
        return [one]

    def places(self) -> dict[str, str]:
        """Say where in their folder those of several files lie that are not unpacked, by their URLs."""
        return file_places([file.url for file in self.files if not file.unpack])

    @property
    def shares_names(self) -> bool:
        """Tell whether some of several files have one name."""
        return any("/" in place for place in self.places().values())
