"""The process that asks the `datasets` library for a dataset, and writes its rows or its pictures out.

Started by hub.py as `python -m tinyllava_core.data.download.hub_process ARGUMENTS.json`. Pictures are not decoded.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.files.archive import safe_path
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput, nearest
from tinyllava_core.job import Progress, tell

_OF_A_NAME = {
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
}  # too long, or a file and a folder of one name
_TELL_EVERY_S = 0.5


def main(asked: dict[str, Any]) -> None:
    """Do what ARGUMENTS.json asks for, and leave what came of it in `asked["result"]`."""
    dataset = _load(asked)
    found = _write_rows(dataset, asked) if "rows_to" in asked else _write_images(dataset, asked)
    write_aside(Path(asked["result"]), json.dumps(found))


def _load(asked: dict[str, Any]) -> Any:
    """Give the split. Raises BadInput, in one line, where the library's own texts are many."""
    import datasets

    try:
        return datasets.load_dataset(
            asked["repo"],
            name=asked["config"],
            split=asked["split"],
            revision=asked["revision"],
            data_files=asked["files"] or None,
        )
    except (FileNotFoundError, ConnectionError) as error:
        raise BadInput(
            f"{asked['written']}: neither in the cache ({os.environ.get('HF_HOME', '~/.cache/huggingface')}) nor to be had "
            f"({_how_it_was_asked()}): {_one_line(error)}; correct `repo`, sign in if it is gated (HF_TOKEN), or give `repo` "
            "a local folder of its Parquet files"
        ) from None
    except ValueError as error:  # an unknown split or configuration; offline, also one that is not cached
        raise BadInput(f"{asked['written']}: {_one_line(error)}; correct config, split or files") from None


def _how_it_was_asked() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "HF_HUB_OFFLINE is set"
    return f"asked {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}"


def _write_rows(dataset: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the asked columns as JSON lines."""
    columns = asked["columns"] or [name for name, kind in dataset.features.items() if not _holds_bytes(kind)]
    for column in columns:
        _require(dataset, column, asked)
    digest, size = hashlib.sha256(), 0
    to = Path(asked["rows_to"])
    aside = to.with_name(f".{to.name}.partial")
    with aside.open("wb") as file:
        for row in _rows(dataset.select_columns(columns)):
            line = json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
            digest.update(line)
            size += file.write(line)
    publish(aside, to)
    return {"num_rows": len(dataset), "size_bytes": size, "sha256": digest.hexdigest(), "without_picture": []}


def _write_images(dataset: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Write each row's picture to a file of its own."""
    import datasets

    picture, named = asked["image_column"], asked["name_column"]
    for column in filter(None, (picture, named)):
        _require(dataset, column, asked)
    if isinstance(dataset.features[picture], datasets.Image):
        dataset = dataset.cast_column(picture, datasets.Image(decode=False))
    columns, homes = dict.fromkeys(filter(None, (picture, named))), _homes(asked)
    into, digest, size = Path(asked["images_into"]), hashlib.sha256(), 0
    seen: dict[str, int] = {}
    missing = []
    for number, row in enumerate(_rows(dataset.select_columns(list(columns)))):
        data, inner = _bytes_of(row[picture], f"{asked['written']}, row {number}: column {picture!r}", homes)
        written = row[named] if named else (Path(inner).name if inner else f"{number:09d}")
        path = safe_path(str(written)) if isinstance(written, str | int) else None
        if path is None:
            raise BadInput(f"{asked['written']}, row {number}: {named} = {written!r}: expected a relative file name")
        name = str(path) if path.suffix else f"{path}{_ending(data)}"
        if name in seen:
            raise BadInput(
                f"{asked['written']}, row {number}: {name!r} is in row {seen[name]} already; give a name_column"
            )
        seen[name] = number
        if data is None:
            missing.append(name)
            continue
        try:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            size += (into / name).write_bytes(data)
        except OSError as error:
            if error.errno not in _OF_A_NAME:
                raise
            raise BadInput(
                f"{asked['written']}, row {number}: no file here can be called {name[:80]!r} ({error.strerror}); give another name_column"
            ) from None
        digest.update(f"{name}\t{hashlib.sha256(data).hexdigest()}\n".encode())
    return {"num_rows": len(dataset), "size_bytes": size, "sha256": digest.hexdigest(), "without_picture": missing}


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    """Give the rows, and tell how far it is."""
    told, total = time.monotonic(), len(dataset)
    for done, row in enumerate(dataset, 1):
        yield row
        if done == total or time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            tell(Progress(done=done, total=total, unit="rows"))


def _homes(asked: dict[str, Any]) -> list[Path]:
    """List the folders that a row may name files in: its own repo's, and where the library unpacks archives."""
    from datasets import config
    from huggingface_hub import constants

    own = Path(asked["repo"])
    cached = Path(constants.HF_HUB_CACHE) / f"datasets--{asked['repo'].replace('/', '--')}"
    unpacked = Path(config.EXTRACTED_DATASETS_PATH)
    return [folder.resolve() for folder in (own if own.is_absolute() else cached, unpacked)]


def _bytes_of(value: Any, where: str, homes: Sequence[Path]) -> tuple[bytes | None, str]:
    """Give a picture's bytes (None: it has none) and the name that it has in its column."""
    if isinstance(value, bytes):
        return value, ""
    if value is None:
        return None, ""
    if not (isinstance(value, dict) and value.keys() >= {"bytes", "path"}):
        raise BadInput(f"{where}: expected a picture, found {type(value).__name__}; correct image_column")
    data, path = value["bytes"], value["path"] or ""
    if data is None and path:
        file = (homes[0] / path).resolve()  # an absolute path stays itself
        if not any(file.is_relative_to(home) for home in homes):
            raise BadInput(f"{where}: its path {path!r} leads out of the repo; a row may only name files of its own")
        data = file.read_bytes() if file.is_file() else None
    return data, path


def _ending(data: bytes | None) -> str:
    """Give the file name's ending for a picture's bytes; .jpg where nobody can tell."""
    try:
        with Image.open(io.BytesIO(data or b"")) as image:
            return {"JPEG": ".jpg"}.get(image.format or "", f".{(image.format or 'jpg').lower()}")
    except Exception:  # whatever a stranger's bytes do to PIL: inspect judges them
        return ".jpg"


def _holds_bytes(kind: Any) -> bool:
    """Tell whether a column holds pictures, sounds or other bytes, at any depth."""
    return any(word in repr(kind) for word in ("Image(", "Audio(", "Video(", "Pdf(", "'binary'", "'large_binary'"))


def _require(dataset: Any, column: str, asked: dict[str, Any]) -> None:
    if column not in dataset.features:
        known = list(dataset.features)
        raise BadInput(f"{asked['written']}: no column {column!r}{nearest(column, known)}. Columns: {', '.join(known)}")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    try:
        main(json.loads(Path(sys.argv[1]).read_text()))
    except BadInput as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)
