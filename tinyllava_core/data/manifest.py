"""A manifest says which data exists: name, URLs, bytes, sha256, licence, count, parser. It fetches nothing.

One YAML in `data_manifests/` per source or benchmark; a person's own data is the same YAML anywhere on the disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, StringConstraints, model_validator

from tinyllava_core.data.record import PARSERS
from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.frozen import Frozen

MANIFESTS = Path(__file__).parents[2] / "data_manifests"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, StringConstraints(pattern=r"^(https?|toyworld)://[^/\s]+/\S+$")]


class Annotations(Frozen):
    """The annotation file of a source, or the official question file of a benchmark."""

    url: Url | None = Field(None, description="Where to download it. Or `path`.")
    path: str | None = Field(None, description="A local file, relative to the manifest; used in place. Or `url`.")
    sha256: Sha256 | None = Field(
        None, description="Of the file, where it is published. null: recorded when downloaded."
    )
    bytes: int | None = Field(None, ge=0, description="Size of the file.")
    format: str | None = Field(
        None, description="A source's parser: a key of data/record.py's PARSERS. A benchmark's is its scorer."
    )
    count: int | None = Field(None, ge=0, description="Records in the file, where it is known.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        _exactly_one(self, "url", "path")
        return self


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
        if self.into.startswith("/") or ".." in Path(self.into).parts:
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
        _exactly_one(self, "url", "path")
        return self


class Images(Frozen):
    """One place that images come from: exactly one of archive, url_table, folder."""

    archive: Archive | None = None
    url_table: UrlTable | None = None
    folder: str | None = Field(None, description="A local folder, relative to the manifest; used in place, not copied.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        _exactly_one(self, "archive", "url_table", "folder")
        return self


class Manifest(Frozen):
    """One source (records to train on) or benchmark (questions to score with)."""

    kind: Literal["source", "benchmark"] = "source"
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$", description="No dots: WebDataset keys and record ids hang on it."
    )
    description: str = ""
    licence: str | None = None
    homepage: str | None = None
    annotations: Annotations
    images: tuple[Images, ...] = Field((), description="Empty for a text-only source.")
    scorer: str | None = Field(None, description="Benchmarks only: a key of evaluate/benchmarks' table.")

    _home: Path = PrivateAttr(default_factory=Path.cwd)  # the folder that local paths are relative to

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "source":
            if self.annotations.format is None:
                raise ValueError(f"a source needs annotations.format. Known: {', '.join(sorted(PARSERS))}")
            if self.annotations.format not in PARSERS:
                raise ValueError(str(unknown("annotation format", self.annotations.format, PARSERS)))
            if self.scorer is not None:
                raise ValueError(f"scorer {self.scorer!r} is for kind: benchmark; remove it or change kind")
        elif self.scorer is None:
            raise ValueError("a benchmark needs a scorer: a key of evaluate/benchmarks' table")
        elif self.annotations.format not in (None, self.scorer):
            raise ValueError(
                f"a benchmark's file is read by its scorer: remove annotations.format or make it {self.scorer!r}"
            )
        if len(self.images) > 1 and any(images.folder is not None for images in self.images):
            raise ValueError(
                "images: a folder is used in place, so it must be the only entry; put everything into one folder"
            )
        return self

    def local(self, path: str) -> Path:
        """Make a local path of this manifest absolute."""
        return (self._home / Path(path).expanduser()).resolve()

    @property
    def folder(self) -> Path | None:
        """The local image folder, absolute; None if the images are downloaded."""
        return next((self.local(images.folder) for images in self.images if images.folder is not None), None)

    def urls(self) -> list[str]:
        """List every URL (or local path) of this manifest as written, annotations first."""
        places: list[Annotations | Archive | UrlTable] = [self.annotations]
        places += [place for images in self.images if (place := images.archive or images.url_table) is not None]
        written = [place.url or getattr(place, "path", None) for place in places]
        written += [images.folder for images in self.images]
        return [place for place in written if place is not None]


def load(name_or_path: str) -> Manifest:
    """Load a manifest by its name in data_manifests/ or by a path to a YAML file.

    Raises BadInput on an unknown name (with the nearest known one), an unknown key or a value that does not fit.
    """
    by_path = name_or_path.endswith((".yaml", ".yml"))
    path = Path(name_or_path).expanduser() if by_path else MANIFESTS / f"{name_or_path}.yaml"
    if not path.is_file():
        raise (
            BadInput(f"manifest {name_or_path!r}: no such file")
            if by_path
            else unknown("source or benchmark", name_or_path, known())
        )
    manifest = Manifest.read(path)
    if not by_path and manifest.name != path.stem:
        raise BadInput(f"{path}: name {manifest.name!r} must be the file's own name, {path.stem!r}")
    manifest._home = path.resolve().parent
    return manifest


def known() -> list[str]:
    """List the names in data_manifests/."""
    return sorted(path.stem for path in MANIFESTS.glob("*.yaml"))


def _exactly_one(model: Any, *fields: str) -> None:
    given = [field for field in fields if getattr(model, field) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ValueError(f"expected exactly one of {', '.join(fields)}; found {found}")
