"""A small data set as a hub has them, with every oddity that big ones have; and what is to become of each row."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from tinyllava_core.data.download.download import download
from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.data.web.patience import Patience

QUICK = Patience(attempts=1, first_wait_s=0.01)
RATED = ("relevance_ratings", "image_correspondence_ratings", "visual_dependency_ratings", "formatting_ratings")
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TEXT = pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())])
_SCHEMA = pa.schema(
    [("images", pa.list_(_PICTURE)), ("texts", pa.list_(_TEXT)), ("source", pa.string())]
    + [(name, pa.list_(pa.int64())) for name in RATED]
    + [("relevance_min", pa.int64())]
)
CARD = """---
configs:
- config_name: ai2d_merged
  data_files:
  - {split: train, path: ai2d_merged/train-*}
- config_name: sharegpt4v(coco)
  data_files: [{split: train, path: sharegpt4v(coco)/train-*}]
---
# A small one
"""


@dataclass
class Row:
    """One row, and what becomes of it."""

    images: list[bytes] | None
    texts: list[tuple[str, str | None]] | None
    ratings: list[int | None] | None = None
    reason: str | None = None
    notes: list[str] = field(default_factory=list)


def jpeg(photo: bytes, width: int, height: int, orientation: int | None = None) -> bytes:
    """Make a smaller picture of a photograph."""
    with Image.open(io.BytesIO(photo)) as image:
        small = image.convert("RGB").resize((width, height))
    buffer, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    small.save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def world(photos: dict[str, bytes]) -> dict[str, list[Row]]:
    """Give the rows of each file."""
    astronaut, coffee, cat = photos["people/astronaut.jpg"], photos["coffee.png"], photos["cats/chelsea.jpg"]
    one, two, three = jpeg(astronaut, 80, 60), jpeg(coffee, 60, 90), jpeg(cat, 64, 64)
    turned = jpeg(cat, 90, 50, orientation=6)
    return {
        "ai2d_merged/train-00000-of-00002.parquet": [
            Row([one], [("Who?", "An astronaut."), ("Sure?", "Yes.")], [5, 2]),
            Row([two], [("What?", "Coffee.")], [4]),
            Row([one], [("Where?", "In a studio.")], None),  # unrated; the first row's picture again
            Row([one[: len(one) // 2]], [("Who?", "Half of one.")], [3], "truncated_image"),
        ],
        "ai2d_merged/train-00001-of-00002.parquet": [
            Row([turned], [("What?", "A cat.")], [5], notes=["exif_orientation_kept"]),
            Row([one, two, three], [("Which is a cat?", "The third.")], [4]),
            Row([], [("Say 1.", "1.")], [1]),
        ],
        "sharegpt4v(coco)/train-00000-of-00001.parquet": [
            Row(None, [("Say 2.", "2.")], None),
            Row([three], [], None, "no_turns"),
            Row([three], [("What?", None)], [2], "empty_answer"),
            Row([three], [("Describe it.", "A cat, near.")], [None]),
        ],
    }


def parquet(rows: list[Row]) -> bytes:
    """Write rows as FineVision's files have them: every picture under the same bare name, in row groups of two."""
    table = pa.Table.from_pylist([_plain(row) for row in rows], _SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=2)
    return buffer.getvalue()


def files(photos: dict[str, bytes]) -> dict[str, bytes]:
    """Give the data set's files."""
    return {"README.md": CARD.encode()} | {name: parquet(rows) for name, rows in world(photos).items()}


def _plain(row: Row) -> dict[str, Any]:
    rated = dict.fromkeys(RATED, row.ratings)
    return rated | {
        "images": None if row.images is None else [{"bytes": data, "path": "1.jpg"} for data in row.images],
        "texts": None
        if row.texts is None
        else [{"user": user, "assistant": answer, "source": "x"} for user, answer in row.texts],
        "source": "x",
        "relevance_min": min((one for one in row.ratings or () if one is not None), default=None),
    }


def manifest(tmp_path, **annotations):
    """Write a manifest of rows with their pictures."""
    written = {
        "kind": "source",
        "name": "fine",
        "licence": "none",
        "annotations": annotations,
        "images": [{"embedded": True}],
        "components": [{"name": "charts", "subsets": ["ai2d*"]}],
    }
    (tmp_path / "fine.yaml").write_text(yaml.safe_dump(written))
    return load_manifest(str(tmp_path / "fine.yaml"))


def brought(tmp_path, source, name="out", chosen=None):
    """Download it -> the folder, the result."""
    out = tmp_path / name
    out.mkdir()
    return out, download(source, out, tmp_path / "cache", patience=QUICK, chosen=chosen)


def tree(root):
    """Read all files of a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
