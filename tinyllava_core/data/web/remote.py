"""Files that are not on this disk, by their fsspec URL (s3://, gs://, file://, memory://): the one door to them.

It knows no HTTP: data/web/fetch.py does, with its servers that do not answer well. Where an S3 store is, and with which
keys, says the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE), never a file of ours.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.files.schemes import SCHEMES, is_remote
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.room import require_free

_BLOCK = 8 << 20  # bytes asked for at a time when a whole file is copied here
OnBytes = Callable[[int, int], None]  # (bytes so far, bytes in all)


def join(folder: str, *names: str) -> str:
    """Give the URL of a file in a remote folder."""
    return "/".join((folder.rstrip("/"), *names))


def open_file(path: str, mode: str = "rb") -> IO[Any]:
    """Open a remote file; what is written is there, whole, once it is closed. Raises as `size` does."""
    with _told(path):
        system, inner = _system(path)
        if "w" in mode:
            _make_parents(system, inner)
        opened: IO[Any] = system.open(inner, mode)
        return opened


def size(path: str) -> int:
    """Give a file's size in bytes.

    Raises BadInput if there is no such file, the access is refused or a package is missing; ConnectionError if the store
    does not answer.
    """
    return int(_info(path)["size"])


def exists(path: str) -> bool:
    """Tell whether there is a file or folder. Raises as `size` does, but for a missing one."""
    with _told(path):
        system, inner = _system(path)
        return bool(system.exists(inner))


def identity(path: str) -> str:
    """Give what changes when a file's bytes do, without reading them: its size, and its tag or time in the store."""
    info = _info(path)
    tags = (info.get(key) for key in ("ETag", "etag", "md5Hash", "generation", "mtime", "created", "LastModified"))
    tag = next((tag for tag in tags if tag is not None), "")
    return f"{info['size']} {str(tag).strip(chr(34))}"


def read_range(path: str, start: int, num_bytes: int) -> bytes:
    """Read `num_bytes` bytes from byte `start` on; fewer only where the file ends. Raises as `size` does."""
    if num_bytes <= 0:
        return b""
    try:
        with _told(path):
            system, inner = _system(path)
            read: bytes = system.cat_file(inner, start=start, end=start + num_bytes)
            return read
    except ConnectionError as error:
        if "range is not satisfiable" in str(error):  # S3's word for a start behind the end
            return b""
        raise


def read_bytes(path: str) -> bytes:
    """Read a whole file. Raises as `size` does."""
    with _told(path):
        system, inner = _system(path)
        read: bytes = system.cat_file(inner)
        return read


def copy_here(path: str, to: Path, on_bytes: OnBytes | None = None) -> None:
    """Copy a remote file to `to`, going on with what an earlier, killed call left. Raises as `size` does."""
    total, now = size(path), identity(path)
    part, note = to.with_name(f"{to.name}.part"), to.with_name(f"{to.name}.part.json")
    part.parent.mkdir(parents=True, exist_ok=True)
    if not (part.exists() and note.exists() and json.loads(note.read_text()) == now):
        part.unlink(missing_ok=True)
    write_aside(note, json.dumps(now))
    with part.open("ab") as file:
        require_free(to.parent, total - file.tell(), path)
        while (at := file.tell()) < total:
            file.write(read_range(path, at, min(_BLOCK, total - at)))
            if on_bytes:
                on_bytes(file.tell(), total)
    if identity(path) != now:
        part.unlink()
        raise ConnectionError(f"{path}: changed while it was copied; run it again")
    publish(part, to)
    note.unlink()


def upload(file: Path, path: str) -> None:
    """Copy a file of this disk to a remote path; it appears there whole. Raises as `size` does."""
    with _told(path):
        system, inner = _system(path)
        _make_parents(system, inner)
        if path.startswith("file://"):  # the one store where a half-written file can be seen
            aside = PurePosixPath(inner).with_name(f".{PurePosixPath(inner).name}.partial")
            system.put_file(str(file), str(aside))
            system.mv(str(aside), inner)
        else:
            system.put_file(str(file), inner)


def write_bytes(path: str, data: bytes) -> None:
    """Write a small file whole. Raises as `size` does."""
    with _told(path):
        system, inner = _system(path)
        _make_parents(system, inner)
        system.pipe_file(inner, data)


def remove(path: str) -> None:
    """Remove a file if it is there. Raises as `size` does."""
    with _told(path), contextlib.suppress(FileNotFoundError):
        system, inner = _system(path)
        system.rm_file(inner)


def _system(path: str) -> tuple[Any, str]:
    """Give fsspec's file system for a URL, and the path inside it."""
    import fsspec

    scheme = path.partition("://")[0]
    if not is_remote(path):
        raise unknown("kind of store", scheme, SCHEMES)
    try:
        system, inner = fsspec.core.url_to_fs(path, use_listings_cache=False)  # others write there too
    except ImportError:
        package = SCHEMES[scheme]
        extra = " (pip install 'tinyllava-pipelines[s3]')" if scheme == "s3" else ""
        raise BadInput(f"{path}: {scheme}:// needs the package {package}, which is not installed{extra}") from None
    return system, inner


def _info(path: str) -> dict[str, Any]:
    with _told(path):
        system, inner = _system(path)
        info: dict[str, Any] = system.info(inner)
    if info.get("type") == "directory":
        raise BadInput(f"{path}: is a folder; expected a file")
    return info


def _make_parents(system: Any, inner: str) -> None:
    if type(system).__name__ in ("LocalFileSystem", "MemoryFileSystem"):  # object stores have no folders
        system.makedirs(str(PurePosixPath(inner).parent), exist_ok=True)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn what a store's library raises into our two kinds of error."""
    try:
        yield
    except BadInput:
        raise
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file in the store; correct the path") from None
    except PermissionError as error:
        raise BadInput(f"{path}: the store refuses the access: {_one_line(error)}; check the keys") from None
    except Exception as error:
        library = type(error).__module__.split(".")[0]
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
            raise BadInput(f"{path}: no keys for the store: {_one_line(error)}; set them in the environment") from None
        if isinstance(error, OSError) or library in ("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure"):
            raise ConnectionError(f"{path}: the store did not answer well: {_one_line(error)}") from None
        raise


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
