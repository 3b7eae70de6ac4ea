"""Stage `download`: bring one source, image set or benchmark to this disk: annotations, images, failures by reason.

Local files are used where they are. Nothing is judged here: what came is what the manifest said, or it is an error.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.download.embedded.source import Counts, Places, Rows
from tinyllava_core.data.download.hub import bring_images, bring_rows
from tinyllava_core.data.download.served import TOYWORLD, Serve, Served, served
from tinyllava_core.data.download.table.attempt import Attempt, write_attempts
from tinyllava_core.data.download.table.fault import FetchFault
from tinyllava_core.data.download.table.rows import read_rows
from tinyllava_core.data.download.table.table import Failure, fetch_images, write_failures
from tinyllava_core.data.files.archive import unpack
from tinyllava_core.data.files.checksums import remember
from tinyllava_core.data.files.packed import is_packed, laid, put
from tinyllava_core.data.manifest.hub import HubImages, HubRows
from tinyllava_core.data.manifest.images import Archive, UrlTable
from tinyllava_core.data.manifest.local_files import (
    check_file,
    check_sum,
    content_sha256,
    count,
    inner_root,
    local_file,
    local_folders,
    local_path,
    read_path,
)
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.data.web.address import asked_by
from tinyllava_core.data.web.fetch import Fetched, fetch, file_name
from tinyllava_core.data.web.pace import OnProgress, Teller
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput
from tinyllava_core.results import DownloadResult
from tinyllava_core.secret import without_secrets

VERSION = 4
_FETCHED_SCHEMA = pa.schema([("url", pa.string()), ("sha256", pa.string()), ("size_bytes", pa.int64())])

TakeOut = Callable[[Path, Path], object]  # (annotations, folder): writes the pictures that are in cells of the file


def download(
    manifest: Manifest,
    out: Path,
    cache: Path,
    on_progress: OnProgress | None = None,
    patience: Patience | None = None,
    take_out: TakeOut | None = None,
    serve: Serve | None = None,
    chosen: Path | None = None,
) -> DownloadResult:
    """Bring what `manifest` names into `out`: annotations, images/, fetched.parquet, failures.parquet, attempts.parquet.

    Image sets that it draws on are downloads of their own. Half-fetched files live in `cache`, so that a killed download goes on
    where it was. `take_out`: the scorer's, for a manifest whose images are embedded. `serve`: who makes the world of URLs that
    begin with toyworld://. `chosen`: stage choose's table, of whose rows alone the source is to be. Raises BadInput on a wrong
    checksum or size, a file that the server does not have, an unsafe archive, a missing local file; ConnectionError, Stalled or
    RuntimeError on a server or process that gave up.
    """
    work, images = cache / "downloads" / manifest.name, out / "images"
    work.mkdir(mode=0o700, parents=True, exist_ok=True)  # while it lasts, signed URLs lie in it
    shutil.rmtree(images, ignore_errors=True)  # of a killed call: the archives are unpacked anew
    images.mkdir(parents=True)
    with FileLock(cache / "downloads" / f".{manifest.name}.lock"), served(manifest, cache, serve) as world:
        work_with = (patience or Patience(), Teller(on_progress), manifest.allow_hosts)
        job = _Download(world, cache, out, work, images, *work_with)
        annotations = job.annotations(manifest, chosen)
        for place in manifest.images:
            if place.archive:
                job.archive(place.archive)
            elif place.url_table:
                job.url_table(manifest, place.url_table, annotations)
            elif place.hub:
                job.hub_images(manifest, place.hub)
            elif place.embedded and manifest.kind == "benchmark":
                if annotations is None or take_out is None:
                    raise BadInput(
                        f"{manifest.name!r}: images: embedded, but its scorer takes no pictures out of a file"
                    )
                take_out(annotations, images)
        (num_files, size_bytes), root = count(images, *local_folders(manifest)), _image_root(manifest, images)
        write_failures(job.failures, out / "failures.parquet")
        write_attempts(job.attempts, out / "attempts.parquet")
        pq.write_table(pa.Table.from_pylist(job.fetched, _FETCHED_SCHEMA), out / "fetched.parquet")
        shutil.rmtree(work)
    return DownloadResult(
        source=manifest.name,
        kind=manifest.kind,
        licence=manifest.licence,
        urls=" ".join(manifest.urls()),
        annotations=_inside(out, annotations) if annotations else None,
        annotations_sha256=content_sha256(annotations) if annotations else None,
        image_root=_inside(out, root),
        num_files=num_files + job.rows.num_pictures - job.rows.num_tars,
        num_expected=manifest.files,
        size_bytes=size_bytes + (_size(annotations) if annotations else 0),
        num_requested=job.num_requested,
        num_failed=len(job.failures),
    )


@dataclass(slots=True)
class _Download:
    """One call of `download`: where things go, and what was seen on the way."""

    served: Served
    cache: Path
    out: Path
    work: Path
    images: Path
    patience: Patience
    tell: Teller
    allow_hosts: tuple[str, ...]
    num_requested: int = 0
    failures: list[Failure] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    fetched: list[dict[str, str | int]] = field(default_factory=list)
    rows: Counts = field(default_factory=Counts)  # of the pictures that rows had in them

    def annotations(self, manifest: Manifest, chosen: Path | None) -> Path | None:
        """Give what is read of the annotations; rows in other files than JSON are laid out as JSON lines."""
        places = Places(out=self.out, images=self.images, work=self.work / "rows", pins=self.cache / "revisions.json")
        job = Rows(manifest=manifest, places=places, patience=self.patience, tell=self.tell, remember=self._remember)
        if job.on_hub:
            return job.bring_chosen(chosen, self.rows) if chosen else job.bring_hub(self.rows)
        place = self._written(manifest)
        return job.bring_local(place, self.rows) if place is not None and job.are_in(place) else place

    def _written(self, manifest: Manifest) -> Path | None:
        """Give what is read of the annotations: a file or folder, in `out` or where it is on this disk; None: no such thing."""
        wanted = manifest.annotations
        if wanted is None:
            return None
        if wanted.path is not None:
            place = local_path(manifest, "annotations.path", wanted.path)
            if place.is_file():
                check_file(place, wanted.bytes, wanted.sha256)
                place = laid(place, self.out / "annotations") if is_packed(place) else place
            return read_path(wanted, place, manifest.name)
        if wanted.hub is not None:
            return self._hub_rows(manifest, wanted.hub, self.out / "annotations.jsonl")
        target = self.out / "annotations"
        shutil.rmtree(target, ignore_errors=True)  # of a killed call
        for file in wanted.downloads():
            fetched = self._fetch(file.url, file.sha256, file.bytes)
            if not wanted.makes_folder:
                target = laid(fetched, self.out / "annotations")
            elif file.unpack:
                unpack(fetched, target, only=file.only)
            else:
                put(fetched, target / wanted.places()[file.url])
        return read_path(wanted, target, manifest.name)

    def archive(self, archive: Archive) -> None:
        """Fetch and unpack one archive into the image root."""
        file = self._fetch(archive.url, archive.sha256, archive.bytes)
        unpack(
            file,
            self.images / archive.into,
            strip=archive.strip,
            only=archive.only,
            on_files=lambda done: self.tell(done, 0, "files", f"unpacking {file.name}"),
        )

    def url_table(self, manifest: Manifest, table: UrlTable, annotations: Path | None) -> None:
        """Fetch the images of one URL table; its failed rows are kept."""
        if table.of_annotations:
            assert annotations is not None, "the manifest has annotations, or it was refused"
            file = annotations
        elif table.url is not None:
            file = self._fetch(table.url, table.sha256, None)
        else:
            assert table.path is not None, "the manifest has exactly one of url, path, of_annotations"
            file = local_file(manifest, "url_table.path", table.path)
            check_sum(file, table.sha256, file_sha256(file))
        file = laid(file, self.work / "table") if is_packed(file) else file
        base = self.served.real(table.url or "")
        rows = read_rows(
            file,
            url_column=table.url_column,
            name_column=table.name_column,
            sha256_column=table.sha256_column,
            base_url=base,
            as_written=self.served.written,
        )
        fetched = fetch_images(
            rows,
            self.images,
            self.work / f"table-{_short(without_secrets(table.url or str(file)))}",
            min_success=table.min_success,
            distributor=table.distributor,
            patience=self.patience,
            on_rows=lambda done: self.tell(done, len(rows), "images", file.name),
            allow_hosts=asked_by(base) | set(self.allow_hosts),
        )
        self.failures += fetched.failures
        self.attempts += fetched.attempts
        self.num_requested += len(rows)

    def hub_images(self, manifest: Manifest, hub: HubImages) -> None:
        """Write out the pictures of a hub's dataset; rows without one are kept as failures."""
        brought = bring_images(
            hub,
            manifest.local("."),
            self.images,
            self.work / f"hub-{_short(hub.model_dump_json())}",
            stall_s=self.patience.stall_s,
            on_rows=lambda done, total: self.tell(done, total, "images", hub.repo),
        )
        self._remember(hub.written(), brought.sha256, brought.size_bytes)
        self.num_requested += brought.num_rows
        self.failures += [
            Failure(url=hub.written(), name=name, reason=FetchFault.NOT_AN_IMAGE, detail="the row has no picture")
            for name in brought.without_picture
        ]

    def _hub_rows(self, manifest: Manifest, hub: HubRows, to: Path) -> Path:
        brought = bring_rows(
            hub,
            manifest.local("."),
            to,
            self.work / f"hub-{_short(hub.model_dump_json())}",
            stall_s=self.patience.stall_s,
            on_rows=lambda done, total: self.tell(done, total, "rows", hub.repo),
        )
        self._remember(f"{hub.written()} (rows)", brought.sha256, brought.size_bytes)
        return to

    def _fetch(self, url: str, sha256: str | None, size_bytes: int | None) -> Path:
        """Give the file behind `url`, in the cache until the whole download is done; found there, or fetched."""
        kept, name = without_secrets(url), file_name(url)  # signed again, it is the same file
        target = self.work / _short(kept) / name
        if target.exists():  # of a killed call
            got = Fetched(size_bytes=target.stat().st_size, sha256=file_sha256(target))
            if sha256 in (None, got.sha256):
                return self._note(kept, target, got)
            target.unlink()
        got = fetch(
            self.served.real(url),
            target,
            sha256=sha256,
            size_bytes=size_bytes,
            on_bytes=self.tell.bytes_of(name),
            patience=self.patience,
            allow_hosts=self.allow_hosts,
        )
        return self._note(kept, target, got)

    def _note(self, url: str, target: Path, got: Fetched) -> Path:
        try:
            self._remember(url, got.sha256, got.size_bytes)
        except BadInput:
            target.unlink()
            raise
        return target

    def _remember(self, url: str, sha256: str, size_bytes: int) -> None:
        if not url.startswith(TOYWORLD):  # this package draws those itself, and may draw them otherwise tomorrow
            remember(self.cache, url, sha256, size_bytes)
        self.fetched.append({"url": url, "sha256": sha256, "size_bytes": size_bytes})


def _image_root(manifest: Manifest, images: Path) -> Path:
    """Give the folder that paths begin in: of what was unpacked, or the local one; in it `root`, where a set names one."""
    if len(manifest.images) == 1 and manifest.folders:
        return inner_root(manifest.folders[0], manifest.root)
    if not (images / manifest.root).is_dir():
        there = ", ".join(sorted(path.name for path in images.iterdir())[:5]) or "nothing"
        raise BadInput(
            f"image set {manifest.name!r}: root {manifest.root!r} is not in what was unpacked; there: {there}"
        )
    return images / manifest.root


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else count(path)[1]


def _inside(out: Path, path: Path) -> str:
    return str(path.relative_to(out) if path.is_relative_to(out) else path)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
