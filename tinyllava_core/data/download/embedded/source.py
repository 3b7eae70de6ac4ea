"""Bring a source whose records are rows of files: from a hub, from a folder, or from what was downloaded as one file.

Rows become one annotation file, pictures in them become pieces of tars. Nothing is judged here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.download.embedded.chosen import ChosenGroup, in_batches, read_chosen
from tinyllava_core.data.download.embedded.laid_out import RowFile, lay_out, lines_of, put_together, tar_name
from tinyllava_core.data.download.embedded.repo import (
    File,
    Repo,
    Wanted,
    chosen,
    fetch_parts,
    fetched,
    forget_fetched,
    hub_repo,
    local_repo,
)
from tinyllava_core.data.download.embedded.rows import PARQUET, TABLES, TARS, is_coco_captions
from tinyllava_core.data.manifest.hub import HubRows
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.data.web.pace import Teller
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput
from tinyllava_core.room import in_words, require_free

AT_ONCE = 16  # parts that are here at once: of row groups of 100 pictures some 160 MB
ANNOTATIONS = "annotations.jsonl"


@dataclass(slots=True)
class Counts:
    """What came of a source's rows."""

    num_tars: int = 0
    num_pictures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things go."""

    out: Path  # the artifact's folder
    images: Path  # the image root in it
    work: Path  # kept when a call is killed
    pins: Path  # the commits that branches were at when they were first asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one source, on their way here."""

    manifest: Manifest
    places: Places
    patience: Patience
    tell: Teller
    remember: Callable[[str, str, int], None]  # (URL, sha256, bytes)

    @property
    def embedded(self) -> bool:
        """Tell whether the pictures are in the rows."""
        return self.manifest.kind == "source" and any(entry.embedded for entry in self.manifest.images)

    @property
    def on_hub(self) -> bool:
        """Tell whether they are files of a hub's data set (or of a folder laid out like one), pictures and all."""
        return self.embedded and self.manifest.annotations is not None and self.manifest.annotations.hub is not None

    def are_in(self, place: Path) -> bool:
        """Tell whether what is at `place` has to be laid out: a folder, a table, Parquet, a tar, COCO's; or pictures in it."""
        if self.manifest.kind != "source":
            return False
        if place.is_dir() or self.embedded:
            return True
        return place.name.lower().endswith((*PARQUET, *TABLES, *TARS)) or is_coco_captions(place)

    def bring_hub(self, counts: Counts) -> Path:
        """Bring what is asked of a hub's data set, one file after the other, each deleted when its rows are out.

        Raises BadInput where a person must act; ConnectionError where the hub gave up on us.
        """
        assert self.manifest.annotations is not None
        hub = self.manifest.annotations.hub
        assert hub is not None
        repo = hub_repo(hub, self.manifest.local("."), self.places.work, self.places.pins, self.patience)
        return self._bring(hub, repo, chosen(repo, hub), counts)

    def bring_local(self, place: Path, counts: Counts) -> Path:
        """Lay out the rows of one file or of a folder on this disk. A copy that was downloaded goes when they are out."""
        hub = HubRows(repo="./rows")
        if place.is_dir():
            repo = local_repo(str(place), place)
            files = chosen(repo, hub)
        else:
            files = [File(name=place.name, size_bytes=place.stat().st_size)]
            repo = Repo(written=str(place), repo=str(place), files=tuple(files), folder=place.parent)
        annotations = self._bring(hub, repo, files, counts)
        if place.is_relative_to(self.places.out):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        return annotations

    def _bring(self, hub: HubRows, repo: Repo, files: list[File], counts: Counts) -> Path:
        units, work = list[RowFile](), self.places.work / "units"
        if self.embedded and len(files) > 1:
            _check_tars(repo, [RowFile(name=file.name, subset=file.subset, identity="") for file in files])
        total = in_words(sum(file.size_bytes for file in files))
        for number, file in enumerate(files, 1):
            unit = RowFile(name=file.name, subset=file.subset, identity=identity(repo, file))
            note = f"file {number} of {len(files)}, {total} in all: {file.name}"
            on_rows = partial(self._told, note)
            done = lay_out(unit, partial(self._here, repo, hub, file), work, self.embedded, on_rows)
            forget_fetched(repo, self.places.work)
            units.append(unit)
            counts.num_pictures += done.num_pictures
            counts.num_tars += done.num_pictures > 0
        annotations = self.places.out / ANNOTATIONS
        put_together(units, work, annotations, self.places.images)
        return annotations

    def bring_chosen(self, table: Path, counts: Counts) -> Path:
        """Bring the rows that stage `choose` has chosen, in its order, some row groups at once, at the commit it saw.

        Raises as `bring_hub` does.
        """
        assert self.manifest.annotations is not None
        assert self.manifest.annotations.hub is not None
        groups, commit = read_chosen(table)
        hub = self.manifest.annotations.hub
        hub = hub.model_copy(update={"revision": commit}) if commit else hub
        repo = hub_repo(hub, self.manifest.local("."), self.places.work, self.places.pins, self.patience)
        _check_tars(
            repo,
            [RowFile(name=one.file, subset=one.subset, identity="", row_group=one.row_group) for one in groups],
        )
        files = {file.name: file for file in repo.files}
        units, work = list[RowFile](), self.places.work / "units"
        size = in_words(sum(group.size_bytes for group in groups))
        for batch in in_batches(groups, AT_ONCE):
            theirs = [_unit(repo, files, group) for group in batch]
            wanted = [
                Wanted(name=group.file, into=self._part(unit), groups=(group.row_group,))
                for group, unit in zip(batch, theirs, strict=True)
                if not lines_of(unit, work).is_file()
            ]
            require_free(self.places.out, sum(group.size_bytes for group in batch), hub.written())
            fetch_parts(repo, hub, wanted, self.places.work, self.patience)
            for group, unit in zip(batch, theirs, strict=True):
                note = f"row group {len(units) + 1} of {len(groups)}, {size} in all: {group.file}"
                bring = partial(self._part, unit)
                done = lay_out(unit, bring, work, True, partial(self._told, note), group.taken)
                self._note(repo, files[group.file], group)
                units.append(unit)
                counts.num_pictures += done.num_pictures
                counts.num_tars += done.num_pictures > 0
            shutil.rmtree(self.places.work / "fetched", ignore_errors=True)
        annotations = self.places.out / ANNOTATIONS
        put_together(units, work, annotations, self.places.images)
        return annotations

    def _part(self, unit: RowFile) -> Path:
        return self.places.work / "fetched" / f"{lines_of(unit, Path()).stem}.parquet"

    def _note(self, repo: Repo, file: File, group: ChosenGroup) -> None:
        if repo.commit is not None:  # the sum is the hub's word: the file was never here whole
            url = f"hub://{repo.repo}@{repo.commit}/{file.name}#row-group={group.row_group}"
            self.remember(url, file.sha256 or file.git_sha1 or "", group.size_bytes)

    def _told(self, note: str, done: int, total: int) -> None:
        self.tell(done, total, "rows", note)

    def _here(self, repo: Repo, hub: HubRows, file: File) -> Path:
        path = fetched(repo, hub, file, self.places.work, self.patience)
        if repo.commit is not None:
            url = f"hub://{repo.repo}@{repo.commit}/{file.name}"
            self.remember(url, file.sha256 or file_sha256(path), file.size_bytes)
        return path


def _unit(repo: Repo, files: dict[str, File], group: ChosenGroup) -> RowFile:
    if group.file not in files:
        raise BadInput(f"{repo.written}: {group.file} was chosen and is no longer there; run again")
    known = f"{identity(repo, files[group.file])} {group.digest}"
    return RowFile(name=group.file, subset=group.subset, identity=known, row_group=group.row_group)


def _check_tars(repo: Repo, units: list[RowFile]) -> None:
    """Raise BadInput if the pictures of two units would come into one tar: the second's would stand for the first's."""
    seen: dict[str, str] = {}
    for unit in units:
        tar = tar_name(unit)
        if tar in seen:
            raise BadInput(
                f"{repo.written}: {seen[tar]} and {unit.name} would both have their pictures in {tar}; rename one, or bring them as two "
                "sources, each with its own `files`"
            )
        seen[tar] = unit.name


def identity(repo: Repo, file: File) -> str:
    """Give what changes with a file's bytes: the hub's own hash, or what the disk says."""
    if repo.folder is None:
        return file.sha256 or file.git_sha1 or f"{repo.commit}"
    stat = (repo.folder / file.name).stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
