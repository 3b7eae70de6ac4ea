"""Sources as `inspect` leaves them, written by hand: what a test does not say of a record is made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.tables import IMAGES_SCHEMA, RECORDS_SCHEMA
from tinyllava_core.data.record.record import InspectedSource

PICTURE = {"width": 64, "height": 48, "format": "JPEG", "size_bytes": 99, "reason": None}


def inspected(home: Path, name: str, records: Sequence[Mapping[str, Any]]) -> InspectedSource:
    """Write a source. Of a record: `says` (its texts), `images` (paths, or dicts with a path), or any column as it is."""
    home.mkdir(parents=True)
    rows = [_record(name, index, record) for index, record in enumerate(records)]
    images = {image["path"]: image for row in rows for image in row["images"]}
    write(home / "records.parquet", RECORDS_SCHEMA, rows)
    write_images(home, name, list(images.values()))
    return InspectedSource(name=name, records=home, images=ImagePlaces.one(home))


def write_images(home: Path, name: str, images: Sequence[Mapping[str, Any]]) -> None:
    """Write images.parquet of a source or a benchmark."""
    rows = [picture(image) | {"source": name} for image in images]
    write(home / "images.parquet", IMAGES_SCHEMA, rows)


def picture(image: Mapping[str, Any] | str) -> dict[str, Any]:
    """Make a picture whose bytes and pixels are as unlike any other's as its path is."""
    given = {"path": image} if isinstance(image, str) else dict(image)
    path = given["path"]
    return PICTURE | {"sha256": f"sha of {path}", "pixel_hash": f"pixels of {path}"} | given


def write(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    """Write rows with a schema; what a row does not say is NULL."""
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def _record(name: str, index: int, given: Mapping[str, Any]) -> dict[str, Any]:
    says = given.get("says", [f"question {index} of {name}", f"answer {index}"])
    images = [
        picture(image)
        for image in given.get("images", [f"{name}/{index}.{n}.jpg" for n in range(given.get("num_images", 1))])
    ]
    made = {
        "record_id": f"{name}-{index:08d}",
        "source": name,
        "index": index,
        "original_id": str(index),
        "turns": [{"role": ("user", "assistant")[n % 2], "text": text} for n, text in enumerate(says)],
        "images": images,
        "num_images": len(images),
        "num_turns": len(says),
        "num_chars": sum(map(len, says)),
        "repairs": [],
        "notes": [],
    }
    return made | {key: value for key, value in given.items() if key not in ("says", "images")}
