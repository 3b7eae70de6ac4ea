"""A manifest says which data exists: name, URLs, bytes, sha256, licence, count, parser. It fetches nothing.

One YAML in `data_manifests/` per source, image set or benchmark; a person's own data is the same YAML anywhere on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from tinyllava_core.data.files.places import ImagePlace, ImagePlaces
from tinyllava_core.data.manifest.annotations import Annotations
from tinyllava_core.data.manifest.component import Component, check_components, subset_name
from tinyllava_core.data.manifest.fields import Host, Name, exactly_one, relative
from tinyllava_core.data.manifest.images import Images, check_prefixes
from tinyllava_core.data.record.formats import FORMATS
from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.frozen import Frozen
from tinyllava_core.paths import expanded
from tinyllava_core.secret import without_secrets

MANIFESTS = Path(__file__).parents[3] / "data_manifests"


class Manifest(Frozen):
    """One source (records to train on), benchmark (questions to score with) or image set (pictures that several share)."""

    kind: Literal["source", "benchmark", "images"] = "source"
    name: Name
    description: str = ""
    licence: str | None = None
    homepage: str | None = None
    annotations: Annotations | None = Field(None, description="Of a source or a benchmark; an image set has none.")
    images: tuple[Images, ...] = Field((), description="Empty for a text-only source.")
    components: tuple[Component, ...] = Field((), description="Sources only: what of its records belongs together.")
    root: str = Field("", description="Image sets only: the folder, within what is unpacked, that its paths begin in.")
    files: int | None = Field(None, ge=0, description="Image sets only: files in it, where that is known.")
    standalone: bool = Field(False, description="Image sets only: of use although no shipped manifest draws on it.")
    scorer: str | None = Field(None, description="Benchmarks only: a key of evaluate/benchmarks' table.")
    variant: str | None = Field(None, description="Benchmarks only: one of its scorer's variants. null: the default.")
    about_gb: float | None = Field(
        None, gt=0, description="About how big it is, where nobody states its bytes: for planning, not checked."
    )
    allow_hosts: tuple[Host, ...] = Field(
        (),
        description="Hosts (or host:port) that redirects and rows of URL tables may lead to though they are not public.",
    )
    about_records: int | None = Field(
        None, gt=0, description="About how many records, where nobody states their count: for planning, not checked."
    )
    tree: str | tuple[str, ...] = Field(
        (),
        description="Where LLaVA's data tree has it, relative to the recipe's data.root; several places: asked in their order.",
    )
    manual: str | None = Field(
        None, description="A person must fetch it (a licence to accept, a shared drive): what, from where, in one line."
    )

    _home: Path = PrivateAttr(default_factory=Path.cwd)  # the folder that local paths are relative to
    _whole: str | None = PrivateAttr(None)  # of a part of a source: the source's name

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        {"source": self._check_source, "benchmark": self._check_benchmark, "images": self._check_images}[self.kind]()
        check_prefixes(self.images)
        if not all(map(relative, self.trees)) or "\n" in (self.manual or "").strip():
            raise ValueError("tree: expected a relative path; manual: expected one line")
        return self

    def _check_source(self) -> None:
        for key in ("scorer", "variant"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key} {getattr(self, key)!r} is for kind: benchmark; remove it or change kind")
        self._check_annotations("a source has records")
        assert self.annotations is not None
        if self.annotations.format is not None and self.annotations.format not in FORMATS:
            raise ValueError(str(unknown("annotation format", self.annotations.format, FORMATS)))
        check_components(self.components, self.annotations.count)

    def _check_benchmark(self) -> None:
        self._check_no_components()
        if self.scorer is None:
            raise ValueError("a benchmark needs a scorer: a key of evaluate/benchmarks' table")
        self._check_annotations("a benchmark has questions")
        assert self.annotations is not None
        if self.annotations.format not in (None, self.scorer):
            raise ValueError(
                f"a benchmark's file is read by its scorer: remove annotations.format or make it {self.scorer!r}"
            )

    def _check_images(self) -> None:
        self._check_no_components()
        for key in ("annotations", "scorer", "variant"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: an image set has none; remove it or change kind")
        if any(entry.set or entry.inside or entry.prefix or entry.embedded for entry in self.images) or bool(
            self.images
        ) == bool(self.manual):
            raise ValueError(
                "an image set needs images: archives, url_tables or one folder, without a prefix; or manual instead"
            )
        if any(entry.url_table and entry.url_table.of_annotations for entry in self.images):
            raise ValueError("url_table.of_annotations: this manifest has none; name the table's `url` or `path`")
        if not relative(self.root):
            raise ValueError(f"root: {self.root!r} leaves the set; give a relative folder")

    def _check_annotations(self, why: str) -> None:
        if self.root or self.files is not None or self.standalone:
            raise ValueError("root, files and standalone are for kind: images; remove them or change kind")
        if self.annotations is None:
            raise ValueError(f"key 'annotations' is missing: {why}")
        places = ("url", "path", "files", "hub")
        if not self.manual:
            exactly_one(self.annotations, *places, where="annotations: ")
        elif any(getattr(self.annotations, key) for key in places):
            raise ValueError(f"manual: a person brings the annotations, so remove {', '.join(places)} there, or manual")

    def _check_no_components(self) -> None:
        if self.components:
            raise ValueError("components are for kind: source; remove them or change kind")

    def local(self, path: str) -> Path:
        """Make a local path of this manifest absolute."""
        return (self._home / expanded(path)).resolve()

    @property
    def trees(self) -> tuple[str, ...]:
        """Give the places in LLaVA's data tree that may have it."""
        return (self.tree,) if isinstance(self.tree, str) else self.tree

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, and of a part of a source also the whole source's: a copy of either will do."""
        return (self.name,) if self._whole is None else (self.name, self._whole)

    def part(self, word: str) -> Manifest:
        """Make a part a source of its own: a component of subsets, or the subsets that a name or pattern says.

        Raises BadInput if its pictures are not embedded in the rows of a hub's data set.
        """
        wanted = self.annotations
        if wanted is None or wanted.hub is None or not any(entry.embedded for entry in self.images):
            raise BadInput(
                f"{self.name}/{word}: parts are of sources whose rows are a hub's; in a mix, name its components instead"
            )
        component = next((one for one in self.components if one.name == word and one.subsets), None)
        hub = wanted.hub.model_copy(update={"subsets": component.subsets if component else (word,)})
        found = self.model_copy(
            update={
                "name": f"{self.name}-{subset_name(word).replace('_', '-')}",
                "annotations": wanted.model_copy(update={"hub": hub, "count": component.count if component else None}),
                "components": () if component is None else (component,),
                "about_gb": None,
                "about_records": None,
            }
        )
        found._whole = self.name
        return found

    @property
    def folders(self) -> list[Path]:
        """The local image folders, absolute."""
        return [self.local(images.folder) for images in self.images if images.folder is not None]

    @property
    def sets(self) -> list[str]:
        """The names of the image sets that it draws on, each once."""
        return list(dict.fromkeys(name for images in self.images for name in images.sets))

    def places(self, own: Path, sets: Mapping[str, Path], beside: Path) -> ImagePlaces:
        """Tell where its images are.

        `own`: the folder of what was unpacked for it alone; `sets`: those of its image sets; `beside`: its annotations'.
        """
        found: list[ImagePlace] = []
        for entry in self.images:
            folders = [own] if entry.own else [sets[name] for name in entry.sets]
            folders += [self.local(entry.folder)] if entry.folder is not None else []
            folders += [beside / entry.inside] if entry.inside is not None else []
            found += [
                ImagePlace(prefix=entry.prefix, folder=folder, try_extensions=entry.try_extensions)
                for folder in folders
            ]
        return ImagePlaces(places=tuple(dict.fromkeys(found)))  # several archives make one folder

    def size_bytes(self) -> int:
        """Add up the sizes of what is downloaded for it, as far as they are stated; without its image sets."""
        sizes = [file.bytes for file in self.annotations.downloads()] if self.annotations else []
        sizes += [entry.archive.bytes for entry in self.images if entry.archive is not None]
        return sum(size or 0 for size in sizes)

    def urls(self) -> list[str]:
        """List every URL (or local path) of this manifest as written, but for signatures; annotations first."""
        written: list[str | None] = []
        if self.annotations:
            hub = self.annotations.hub
            written += [file.url for file in self.annotations.downloads()]
            written.append(hub.written() if hub else self.annotations.path)
        for images in self.images:
            place = images.archive or images.url_table
            written.append(images.folder if place is None else place.url or getattr(place, "path", None))
            written.append(images.hub.written() if images.hub else None)
        return [without_secrets(place) for place in written if place is not None]


_PART = re.compile(r"([a-z0-9][a-z0-9-]*|.+\.ya?ml)/((?!.*\.ya?ml$).+)")


def load(name_or_path: str) -> Manifest:
    """Load a manifest by its name in data_manifests/ or by a path to a YAML file; behind either, /PART for a part of it.

    Raises BadInput on an unknown name (with the nearest known one), an unknown key or a value that does not fit.
    """
    if parted := _PART.fullmatch(name_or_path):
        return load(parted[1]).part(parted[2])
    by_path = name_or_path.endswith((".yaml", ".yml"))
    path = expanded(name_or_path) if by_path else MANIFESTS / f"{name_or_path}.yaml"
    if not path.is_file():
        if name_or_path.endswith((".json", ".jsonl")):
            raise BadInput(
                f"{name_or_path}: expected a manifest's name or its YAML file; `tinyllava init PICTURES {name_or_path}` writes one"
            )
        raise (
            BadInput(f"manifest {name_or_path!r}: no such file")
            if by_path
            else unknown("source, image set or benchmark", name_or_path, known())
        )
    manifest = Manifest.read(path)
    if not by_path and manifest.name != path.stem:
        raise BadInput(f"{path}: name {manifest.name!r} must be the file's own name, {path.stem!r}")
    manifest._home = path.resolve().parent
    return manifest


def known() -> list[str]:
    """List the names in data_manifests/."""
    return sorted(path.stem for path in MANIFESTS.glob("*.yaml"))
