"""Stage `shard`: write one mix, in its order, as WebDataset tars with an index of every member's offset.

The same mix gives the same bytes: members carry no time, no owner, and the images are the files' own bytes. It decides
nothing about order, and repairs nothing: what is not as it was inspected is an error.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.lookup import RecordLookup, open_records
from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.data.record import InspectedSource
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.results import ShardResult

VERSION = 1
INDEX_SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("shard", pa.int32()),
        ("place", pa.int32()),
        ("key", pa.string()),
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("num_images", pa.int16()),
        ("json_offset", pa.int64()),
        ("json_size", pa.int64()),
        ("image_offsets", pa.list_(pa.int64())),
        ("image_sizes", pa.list_(pa.int64())),
        ("image_sha256", pa.list_(pa.string())),
    ]
)
SHARDS_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("name", pa.string()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("num_records", pa.int64()),
    ]
)
_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}  # others: PIL's word in small letters


def shard(
    mixed: Path,
    sources: Sequence[InspectedSource],
    records_per_shard: int,
    out: Path,
    on_progress: Callable[[Progress], None] | None = None,
) -> ShardResult:
    """Write shard-000000.tar ..., index.parquet and shards.parquet of the mix in the artifact folder `mixed`.

    Raises BadInput, naming the file, if an image is gone or is not the one that was inspected.
    """
    table = pq.read_table(mixed / "mix.parquet", columns=["position", "record_id", "source"])
    images = {source.name: source.images for source in sources}
    _all_known(table, images)
    shards: list[dict[str, Any]] = []
    with (
        open_records(sources, out / "scratch") as lookups,
        pq.ParquetWriter(out / "index.parquet", INDEX_SCHEMA) as index,
    ):
        rows = _rows(table, lookups)
        for start in range(0, table.num_rows, records_per_shard):
            part = table.slice(start, records_per_shard)
            tar = out / f"shard-{len(shards):06d}.tar"
            placed = _write_tar(
                tar, len(shards), _members(part, rows[start : start + records_per_shard], lookups, images)
            )
            index.write_table(pa.Table.from_pylist(placed, INDEX_SCHEMA))
            shards.append(
                {
                    "shard": len(shards),
                    "name": tar.name,
                    "size_bytes": tar.stat().st_size,
                    "sha256": file_sha256(tar),
                    "num_records": len(placed),
                }
            )
            if on_progress:
                on_progress(Progress(done=start + len(placed), total=table.num_rows, unit="records", note=tar.name))
    pq.write_table(pa.Table.from_pylist(shards, SHARDS_SCHEMA), out / "shards.parquet")
    return ShardResult(
        num_shards=len(shards),
        num_records=table.num_rows,
        size_bytes=sum(row["size_bytes"] for row in shards),
        sha256=hashlib.sha256("".join(row["sha256"] for row in shards).encode()).hexdigest(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One record on its way into a tar."""

    position: int
    source: str
    places: ImagePlaces
    record: dict[str, Any]  # record_id, turns, images: a row of records.parquet

    @property
    def key(self) -> str:
        return f"{self.position:09d}"  # digits only: a dot in a key merges samples in webdataset

    def body(self) -> bytes:
        """Write the record's JSON member."""
        images = [{key: image[key] for key in ("path", "sha256", "width", "height")} for image in self.record["images"]]
        whole = {
            "record_id": self.record["record_id"],
            "source": self.source,
            "turns": self.record["turns"],
            "images": images,
        }
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Give each image's member name and bytes."""
        images = self.record["images"]
        for number, image in enumerate(images):
            extension = _EXTENSIONS.get(image["format"], image["format"].lower())
            place = "" if len(images) == 1 else f".{number}"
            yield f"{self.key}{place}.{extension}", _inspected_bytes(self.places, image["path"], image["sha256"])


def _all_known(table: pa.Table, images: dict[str, ImagePlaces]) -> None:
    unknown = set(pc.unique(table["source"]).to_pylist()) - set(images)
    if unknown:
        raise BadInput(
            f"the mix holds records of {', '.join(sorted(unknown))}; shard was given {', '.join(sorted(images))}"
        )


def _rows(table: pa.Table, lookups: dict[str, RecordLookup]) -> np.ndarray:
    """Find, for each row of the mix, the row of its record in its source."""
    rows = np.empty(table.num_rows, dtype=np.int64)
    for name, lookup in lookups.items():
        mine = pc.equal(table["source"], name)
        rows[mine.to_numpy()] = lookup.rows(pc.filter(table["record_id"], mine))
    return rows


def _members(
    part: pa.Table, rows: np.ndarray, lookups: dict[str, RecordLookup], images: dict[str, ImagePlaces]
) -> Iterator[_Member]:
    for position, source, row in zip(part["position"].to_pylist(), part["source"].to_pylist(), rows, strict=True):
        yield _Member(position=position, source=source, places=images[source], record=lookups[source].record(int(row)))


def _write_tar(path: Path, number: int, members: Iterator[_Member]) -> list[dict[str, Any]]:
    """Write one tar; give its rows of the index."""
    placed: list[dict[str, Any]] = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for place, member in enumerate(members):
            body = member.body()
            json_offset = _add(tar, f"{member.key}.json", body)
            images = [(_add(tar, name, data), len(data)) for name, data in member.images()]
            placed.append(
                {
                    "position": member.position,
                    "shard": number,
                    "place": place,
                    "key": member.key,
                    "record_id": member.record["record_id"],
                    "source": member.source,
                    "num_images": len(images),
                    "json_offset": json_offset,
                    "json_size": len(body),
                    "image_offsets": [offset for offset, _ in images],
                    "image_sizes": [size for _, size in images],
                    "image_sha256": [image["sha256"] for image in member.record["images"]],
                }
            )
    return placed


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add one member that says nothing about when and by whom; give the offset of its bytes."""
    info = tarfile.TarInfo(name)  # mtime 0, uid and gid 0, no owner's name, mode 0644
    info.size = len(data)
    offset = tar.offset + tarfile.BLOCKSIZE  # USTAR: one header block
    tar.addfile(info, io.BytesIO(data))
    return offset


def _inspected_bytes(places: ImagePlaces, path: str, sha256: str) -> bytes:
    file = None
    try:
        file = places.find(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "No such file")
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{file or path}: was there when it was inspected, now: {error.strerror}; run again to inspect its source anew"
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BadInput(f"{file}: has changed since it was inspected; run again to inspect its source anew")
    return data
