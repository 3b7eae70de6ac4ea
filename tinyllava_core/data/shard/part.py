"""Write one tar of a sharded mix. A part is a function of the layout and its number: any worker may write any, in any order.

It decides nothing about order, and lets nothing pass that is not as it was inspected. A tar that is there whole, as its
part of the index says, is not written again.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.artifact import aside_of, file_sha256
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.files.tar import TarWriter
from tinyllava_core.data.inspect.repair import repaired, suffix_of
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.data.shard.lookup import RecordFile, StoredRecord
from tinyllava_core.data.shard.question import only
from tinyllava_core.data.shard.shrink import shrunk
from tinyllava_core.data.web.tar_store import is_held, put
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput

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
        ("json_sha256", pa.string()),
        ("image_offsets", pa.list_(pa.int64())),
        ("image_sizes", pa.list_(pa.int64())),
        ("image_sha256", pa.list_(pa.string())),  # of the inspected files: an image's name in the lineage
        ("image_fields", pa.list_(pa.string())),  # member names without the key: jpg, or 0.jpg, 1.png
        ("image_transforms", pa.list_(pa.string())),  # null: the tar holds the file's own bytes
        ("stored_sha256", pa.list_(pa.string())),  # null: image_sha256
    ]
)
_CHUNK = 512  # records read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What every worker needs to write any tar: where the records lie, and where the mix is cut."""

    sources: tuple[InspectedSource, ...]
    scratch: Path  # <source>.arrow, and of each position of the mix: its source's number, its row there
    out: Path
    starts: tuple[int, ...]  # first position of each tar, then the number of records
    max_side: int | None
    pictures_once: bool = False
    store: str | None = None  # URL of the folder that the tars are moved to

    @property
    def num_parts(self) -> int:
        """Tars of the mix."""
        return len(self.starts) - 1

    def tar(self, number: int) -> Path:
        """Name a tar."""
        return self.out / f"shard-{number:06d}.tar"

    def part(self, number: int) -> Path:
        """Name a tar's part of the index."""
        return self.out / "parts" / f"index-{number:06d}.parquet"


def source_numbers(scratch: Path) -> Path:
    """Name the file with the number of each position's source."""
    return scratch / "source.npy"


def source_rows(scratch: Path) -> Path:
    """Name the file with each position's row in its source."""
    return scratch / "row.npy"


def questions(scratch: Path) -> Path:
    """Name the file with the number of each position's question; WHOLE where it is all of the record."""
    return scratch / "question.npy"


def write_part(layout: Layout, number: int) -> Path:
    """Write a tar and then its part of the index, each aside and then renamed, and move the tar to its store; give the part's file.

    Raises BadInput, naming the file, if an image is gone or is not the one that was inspected.
    """
    part = layout.part(number)
    if not is_whole(layout, number):
        _write(layout, number)
    if layout.store is not None and (tar := layout.tar(number)).is_file():
        sha256, size = tar_facts(part)
        put(tar, layout.store, size, sha256)
        tar.unlink()
    return part


def _write(layout: Layout, number: int) -> None:
    part, tar = layout.part(number), layout.tar(number)
    part.unlink(missing_ok=True)
    aside = aside_of(layout.scratch / tar.name)
    with TarWriter(aside) as writer:
        members = _Members(tar=writer, once=layout.pictures_once)
        placed = [_place(members, layout, number, *item) for item in _records(layout, number)]
    publish(aside, tar)
    told = {"tar_sha256": writer.sha256(), "tar_bytes": str(writer.size)}
    table = pa.Table.from_pylist(placed, INDEX_SCHEMA).replace_schema_metadata(told)
    aside = aside_of(part)
    pq.write_table(table, aside)
    publish(aside, part)


def is_whole(layout: Layout, number: int) -> bool:
    """Tell whether a tar was finished by an earlier life and is still what it was, here or in the store, read to its last byte."""
    part, tar = layout.part(number), layout.tar(number)
    if not part.is_file():
        return False
    sha256, size = tar_facts(part)
    if not tar.is_file():
        return layout.store is not None and is_held(layout.store, size, sha256)
    return tar.stat().st_size == size and file_sha256(tar) == sha256


def tar_facts(part: Path) -> tuple[str, int]:
    """Read what a part of the index says of its tar -> sha256, bytes."""
    told = pq.read_schema(part).metadata
    return told[b"tar_sha256"].decode(), int(told[b"tar_bytes"])


def _records(layout: Layout, number: int) -> Iterator[tuple[int, InspectedSource, StoredRecord]]:
    """Give the records of one tar in the mix's order -> position, source, record."""
    start, stop = layout.starts[number], layout.starts[number + 1]
    files_of = (source_numbers, source_rows, questions)
    names, rows, asked = (np.load(file(layout.scratch), mmap_mode="r") for file in files_of)
    files: dict[int, RecordFile] = {}
    for first in range(start, stop, _CHUNK):
        chunk = slice(first, min(first + _CHUNK, stop))
        found: dict[int, Iterator[StoredRecord]] = {}
        for which in np.unique(names[chunk]).tolist():
            if which not in files:
                files[which] = RecordFile(layout.scratch / f"{layout.sources[which].name}.arrow")
            found[which] = iter(files[which].read(rows[chunk][names[chunk] == which]))
        for position, which in enumerate(names[chunk].tolist(), first):
            yield position, layout.sources[which], only(next(found[which]), int(asked[position]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """One image as the tar will have it."""

    field: str  # member name without the key
    data: bytes
    told: dict[str, Any]  # of the record's JSON
    sha256: str  # of the data
    stored_sha256: str | None  # None: the file's own bytes
    transform: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Members:
    """The members of a tar being written, and under which name each picture stands in it."""

    tar: TarWriter
    once: bool
    known: dict[str, tuple[str, int]] = field(default_factory=dict)  # sha256 of a picture -> its member, its offset

    def add_picture(self, name: str, data: bytes, sha256: str) -> int:
        """Add a picture, or a link to the same one; give the offset at which its bytes stand."""
        if self.once and (found := self.known.get(sha256)):
            self.tar.link(name, found[0])
            return found[1]
        offset = self.tar.add(name, data)
        self.known[sha256] = name, offset
        return offset


def _place(
    members: _Members, layout: Layout, number: int, position: int, source: InspectedSource, record: StoredRecord
) -> dict[str, Any]:
    """Add one record's members to a tar; give its row of the index."""
    key = f"{position:09d}"  # digits only: a dot in a key merges samples in webdataset
    images = [_stored(source, record, number, layout.max_side) for number in range(len(record.images))]
    body = _body(source, record, images)
    json_offset = members.tar.add(f"{key}.json", body)
    offsets = [members.add_picture(f"{key}.{image.field}", image.data, image.sha256) for image in images]
    return {
        "position": position,
        "shard": number,
        "place": position - layout.starts[number],
        "key": key,
        "record_id": record.record_id,
        "source": source.name,
        "num_images": len(images),
        "json_offset": json_offset,
        "json_size": len(body),
        "json_sha256": hashlib.sha256(body).hexdigest(),
        "image_offsets": offsets,
        "image_sizes": [len(image.data) for image in images],
        "image_sha256": [image["sha256"] for image in record.images],
        "image_fields": [image.field for image in images],
        "image_transforms": [image.transform for image in images],
        "stored_sha256": [image.stored_sha256 for image in images],
    }


def _body(source: InspectedSource, record: StoredRecord, images: list[_Stored]) -> bytes:
    whole = {
        "record_id": record.record_id,
        "source": source.name,
        "turns": [_told_turn(turn) for turn in record.turns],
        "images": [image.told for image in images],
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def _told_turn(turn: dict[str, Any]) -> dict[str, Any]:
    """Write a turn as it is nearly always: only what is not learned says so."""
    told = {"role": turn["role"], "text": turn["text"]}
    return told | {"supervised": False} if turn["supervised"] is False else told


def _stored(source: InspectedSource, record: StoredRecord, number: int, max_side: int | None) -> _Stored:
    image = record.images[number]
    data = _mended_bytes(source.images, image)
    told = {key: image[key] for key in ("path", "sha256", "width", "height")}
    transforms = list(image["repairs"]) if image["repaired_sha256"] is not None else []
    smaller = shrunk(data, max_side) if max_side is not None else None
    if smaller is not None:
        data = smaller.data
        told |= {"width": smaller.width, "height": smaller.height}
        transforms.append(smaller.transform)
    extension, transform = suffix_of(data), "; ".join(transforms) or None
    stored_sha256 = hashlib.sha256(data).hexdigest() if transform else None
    return _Stored(
        field=extension if len(record.images) == 1 else f"{number}.{extension}",
        data=data,
        told=told | {"transform": transform},
        sha256=stored_sha256 or image["sha256"],
        stored_sha256=stored_sha256,
        transform=transform,
    )


def _mended_bytes(places: ImagePlaces, image: dict[str, Any]) -> bytes:
    """Give an image's bytes: the file's own, or mended as `inspect` said."""
    data = _inspected_bytes(places, image["path"], image["sha256"])
    if image["repaired_sha256"] is None:
        return data
    mended = repaired(data, image["repairs"])
    if hashlib.sha256(mended).hexdigest() != image["repaired_sha256"]:
        raise BadInput(
            f"{image['path']}: mending gives other bytes than when it was inspected: another Pillow is installed; "
            "remove the artifact of stage inspect and run again"
        )
    return mended


def _inspected_bytes(places: ImagePlaces, path: str, sha256: str) -> bytes:
    file = None
    try:
        file = places.look_up(path)
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
