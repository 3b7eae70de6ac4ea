"""Stage `download`: bring one source or benchmark to this disk: its annotations, its images, its failures by reason.

Local files are used where they are. Nothing is judged here: what came is what the manifest said, or it is an error.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.archive import unpack
from tinyllava_core.data.fetch import Fetched, OnBytes, Patience, fetch
from tinyllava_core.data.manifest import Archive, Manifest, UrlTable
from tinyllava_core.data.url_rows import read_rows
from tinyllava_core.data.url_table import Failure, fetch_images, write_failures
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.results import DownloadResult

VERSION = 1
TOYWORLD = "toyworld://"
_FETCHED_SCHEMA = pa.schema([("url", pa.string()), ("sha256", pa.string()), ("size_bytes", pa.int64())])

OnProgress = Callable[[Progress], None]


def download(
    manifest: Manifest, out: Path, cache: Path, on_progress: OnProgress | None = None, patience: Patience | None = None
) -> DownloadResult:
    """Bring what `manifest` names into `out`: annotations, images/, failures.parquet, fetched.parquet (url, sha256, bytes).

    Half-fetched files live in `cache`, so that a killed download goes on where it was. Raises BadInput on a wrong
    checksum or size, a file that the server does not have, an unsafe archive, a missing local file; ConnectionError,
    Stalled or RuntimeError on a server or process that gave up.
    """
    work = cache / "downloads" / manifest.name
    work.mkdir(parents=True, exist_ok=True)
    images = out / "images"
    shutil.rmtree(images, ignore_errors=True)  # of a killed call: the archives are unpacked anew
    images.mkdir(parents=True)
    with FileLock(cache / "downloads" / f".{manifest.name}.lock"), _served(manifest, cache) as served:
        job = _Download(served, work, images, patience or Patience(), _Teller(on_progress))
        annotations, annotations_sha256 = job.annotations(manifest, out)
        for place in manifest.images:
            if place.archive:
                job.archive(place.archive)
            elif place.url_table:
                job.url_table(manifest, place.url_table)
        root = _local_folder(manifest) or images
        num_files, size_bytes = _count(root)
        write_failures(job.failures, out / "failures.parquet")
        pq.write_table(pa.Table.from_pylist(job.fetched, _FETCHED_SCHEMA), out / "fetched.parquet")
        shutil.rmtree(work)
    return DownloadResult(
        source=manifest.name,
        kind=manifest.kind,
        licence=manifest.licence,
        urls=" ".join(manifest.urls()),
        annotations=annotations.name if annotations.parent == out else str(annotations),
        annotations_sha256=annotations_sha256,
        image_root="images" if root == images else str(root),
        num_files=num_files,
        size_bytes=size_bytes + annotations.stat().st_size,
        num_requested=job.num_requested,
        num_failed=len(job.failures),
    )


def local_digest(manifest: Manifest) -> str | None:
    """Hash what a manifest's local files are now, for the fingerprint; None if it names none.

    The annotations by content; the image folder, which may be big, by its place and its files' names, sizes and times.
    Raises BadInput if a local file is missing.
    """
    digest = hashlib.sha256()
    parts = 0
    for path in _local_files(manifest):
        digest.update(f"{path}\t{file_sha256(path)}\n".encode())
        parts += 1
    if root := _local_folder(manifest):
        digest.update(f"{root}\n".encode())
        for name, stat in sorted(_walk(root)):
            digest.update(f"{name}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        parts += 1
    return digest.hexdigest() if parts else None


@dataclass(frozen=True, slots=True)
class _Served:
    """Turns URLs as written (toyworld://...) into ones that can be fetched now, and back: ports never get into data."""

    base: str  # of the toy world's server; "" if it is not needed

    def real(self, url: str) -> str:
        return f"{self.base}/{url.removeprefix(TOYWORLD)}" if url.startswith(TOYWORLD) else url

    def written(self, url: str) -> str:
        return TOYWORLD + url.removeprefix(f"{self.base}/") if self.base and url.startswith(f"{self.base}/") else url


@contextmanager
def _served(manifest: Manifest, cache: Path) -> Iterator[_Served]:
    if not any(url.startswith(TOYWORLD) for url in manifest.urls()):
        yield _Served("")
        return
    from tinyllava_core.toyworld.server import serving  # draws pictures: only where it is asked for

    with serving(cache) as base:
        yield _Served(base.rstrip("/"))


class _Teller:
    """Tells progress a few times a second at most, and the end of each part."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress, self._last = on_progress, 0.0

    def bytes_of(self, name: str) -> OnBytes:
        return lambda done, total: self(done, total, "bytes", name)

    def __call__(self, done: int, total: int, unit: str, note: str) -> None:
        now = time.monotonic()
        if self._on_progress and (done == total or now - self._last > 0.2):
            self._last = now
            self._on_progress(Progress(done=done, total=total, unit=unit, note=note))


@dataclass(slots=True)
class _Download:
    """One call of `download`: where things go, and what was seen on the way."""

    served: _Served
    work: Path
    images: Path
    patience: Patience
    tell: _Teller
    num_requested: int = 0
    failures: list[Failure] = field(default_factory=list)
    fetched: list[dict[str, str | int]] = field(default_factory=list)

    def annotations(self, manifest: Manifest, out: Path) -> tuple[Path, str]:
        """Give the annotation file, in `out` or where it is on this disk, and its sha256."""
        wanted = manifest.annotations
        if wanted.url is not None:
            target = out / f"annotations{Path(_file_name(wanted.url)).suffix}"
            target.unlink(missing_ok=True)
            shutil.copyfile(self._fetch(wanted.url, wanted.sha256, wanted.bytes), target)
            return target, str(self.fetched[-1]["sha256"])
        assert wanted.path is not None, "the manifest has exactly one of url, path"
        path = _local_file(manifest, "annotations.path", wanted.path)
        found, size = file_sha256(path), path.stat().st_size
        if wanted.bytes is not None and size != wanted.bytes:
            raise BadInput(f"{path}: expected {wanted.bytes} bytes, found {size}; correct `bytes` in the manifest")
        _check_sum(path, wanted.sha256, found)
        return path, found

    def archive(self, archive: Archive) -> None:
        """Fetch and unpack one archive into the image root."""
        file = self._fetch(archive.url, archive.sha256, archive.bytes)
        unpack(file, self.images / archive.into, lambda done: self.tell(done, 0, "files", f"unpacking {file.name}"))

    def url_table(self, manifest: Manifest, table: UrlTable) -> None:
        """Fetch the images of one URL table; its failed rows are kept."""
        if table.url is not None:
            file = self._fetch(table.url, table.sha256, None)
        else:
            assert table.path is not None, "the manifest has exactly one of url, path"
            file = _local_file(manifest, "url_table.path", table.path)
            _check_sum(file, table.sha256, file_sha256(file))
        rows = read_rows(
            file,
            url_column=table.url_column,
            name_column=table.name_column,
            base_url=self.served.real(table.url or ""),
            as_written=self.served.written,
        )
        self.failures += fetch_images(
            rows,
            self.images,
            self.work / f"table-{_short(table.url or str(file))}",
            patience=self.patience,
            on_rows=lambda done: self.tell(done, len(rows), "images", file.name),
        )
        self.num_requested += len(rows)

    def _fetch(self, url: str, sha256: str | None, size_bytes: int | None) -> Path:
        """Give the file behind `url`, in the cache until the whole download is done; found there, or fetched."""
        name = _file_name(url)
        target = self.work / _short(url) / name
        if target.exists():  # of a killed call
            got = Fetched(size_bytes=target.stat().st_size, sha256=file_sha256(target))
            if sha256 in (None, got.sha256):
                return self._note(url, target, got)
            target.unlink()
        got = fetch(
            self.served.real(url),
            target,
            sha256=sha256,
            size_bytes=size_bytes,
            on_bytes=self.tell.bytes_of(name),
            patience=self.patience,
        )
        return self._note(url, target, got)

    def _note(self, url: str, target: Path, got: Fetched) -> Path:
        self.fetched.append({"url": url, "sha256": got.sha256, "size_bytes": got.size_bytes})
        return target


def _local_files(manifest: Manifest) -> list[Path]:
    found = [("annotations.path", manifest.annotations.path)]
    found += [("url_table.path", images.url_table.path) for images in manifest.images if images.url_table]
    return [_local_file(manifest, key, path) for key, path in found if path is not None]


def _local_file(manifest: Manifest, key: str, path: str) -> Path:
    file = manifest.local(path)
    if not file.is_file():
        raise BadInput(
            f"manifest {manifest.name!r}: {key}: no file {file} (relative paths start at the manifest's folder)"
        )
    return file


def _local_folder(manifest: Manifest) -> Path | None:
    folder = manifest.folder
    if folder is not None and not folder.is_dir():
        raise BadInput(
            f"manifest {manifest.name!r}: images.folder: no folder {folder} (relative paths start at the manifest's folder)"
        )
    return folder


def _check_sum(path: Path, expected: str | None, found: str) -> None:
    if expected is not None and found != expected:
        raise BadInput(
            f"{path}: wrong checksum: expected sha256 {expected}, found {found}; correct it in the manifest if the file is right"
        )


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Give each file under `root` (links to folders are followed) with its relative name."""
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - a Path for each of a million files costs more than the walk
            if os.path.isfile(path):  # noqa: PTH113
                yield os.path.relpath(path, root), os.stat(path)  # noqa: PTH116


def _count(root: Path) -> tuple[int, int]:
    sizes = [stat.st_size for _, stat in _walk(root)]
    return len(sizes), sum(sizes)


def _file_name(url: str) -> str:
    return Path(unquote(urlsplit(url).path)).name or "file"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
