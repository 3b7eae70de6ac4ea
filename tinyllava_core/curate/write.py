"""What judging leaves: a table of scores for a mix's filters, or a source of new captions. Nothing is asked here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tinyllava_core.artifact import aside_of, write_aside
from tinyllava_core.curate.asking import Answered, Prompt, number_in
from tinyllava_core.curate.rows import Row, Source
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput

CAPTIONS = "captions.json"
ASKED_FOR = (
    "<image>\nDescribe the image in detail."  # the question that a new caption answers; a plain prompt leaves it out
)


def rated(prompt: Prompt, answers: Sequence[Answered]) -> pa.Table:
    """Give record_id, the rating, and beside it who gave it and why there is none: NAME, NAME_by, NAME_fault."""
    numbers = [number_in(one.text) for one in answers]
    faults = [
        one.fault or (None if number is not None else f"no number: {(one.text or '')[:200]!r}")
        for one, number in zip(answers, numbers, strict=True)
    ]
    return pa.table(
        {
            "record_id": pa.array([one.record_id for one in answers], pa.string()),
            prompt.name: pa.array(numbers, pa.float64()),
            f"{prompt.name}_by": pa.array([one.by for one in answers], pa.string()),
            f"{prompt.name}_fault": pa.array(faults, pa.string()),
        }
    )


def write_scores(tables: Sequence[pa.Table], told: Mapping[str, str], out: Path) -> pa.Table:
    """Put the columns of each table beside each other, by record, and write them; `told`: what made them, in the file's metadata."""
    whole = tables[0]
    for table in tables[1:]:
        whole = whole.join(table, "record_id")
    whole = whole.sort_by("record_id").replace_schema_metadata(
        {f"tinyllava.{key}": value for key, value in told.items()}
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(whole, aside := aside_of(out), compression="zstd")
    publish(aside, out)
    return whole


def check_place(out: Path) -> None:
    """Raise BadInput if new captions in a folder would take the place of what is none of them: asked before anything is paid."""
    there = out / CAPTIONS
    try:
        ours = not there.exists() or all("caption_by" in record for record in json.loads(there.read_bytes()))
    except (ValueError, TypeError, OSError):
        ours = False
    if not ours:
        raise BadInput(f"{there}: is there already, and holds no new captions; name another folder with --out")


def write_captions(source: Source, rows: Sequence[Row], answers: Sequence[Answered], out: Path) -> tuple[Path, int]:
    """Write a source of the captions that were given -> its manifest, how many there are. Raises BadInput if there is none.

    Each record says whose caption it is and of which record; pictures stay where they are.
    """
    given = [(row, one) for row, one in zip(rows, answers, strict=True) if one.text]
    if not given:
        raise BadInput(
            f"{source.name}: no caption came back; the first: {answers[0].fault if answers else 'no record has a picture'}"
        )
    files = [_file(source, row) for row, _ in given]
    folder = Path(os.path.commonpath([file.parent for file in files]))
    records = [
        {
            "id": row.picture_sha256[0][:16],
            "image": file.relative_to(folder).as_posix(),
            "conversations": [{"from": "human", "value": ASKED_FOR}, {"from": "gpt", "value": one.text}],
            "caption_of": row.record_id,
            "caption_by": one.by,
        }
        for (row, one), file in zip(given, files, strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_aside(out / CAPTIONS, json.dumps(records, indent=1, ensure_ascii=False))
    manifest = {
        "kind": "source",
        "name": out.resolve().name,
        "description": f"new captions of the pictures of {source.name}, by {given[0][1].by}",
        "licence": "unknown",
        "annotations": {"path": CAPTIONS, "format": "llava"},
        "images": [{"folder": str(folder)}],
    }
    write_aside(path := out / f"{out.resolve().name}.yaml", yaml.safe_dump(manifest, sort_keys=False))
    return path, len(records)


def _file(source: Source, row: Row) -> Path:
    found = source.images.find(row.pictures[0])
    if found is None:
        raise BadInput(
            f"{source.name}: picture {row.pictures[0]} is no file of its own (it is gone, or in a tar): new captions need it as one; unpack it"
        )
    return found.resolve()
