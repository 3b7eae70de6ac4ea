"""How the toy world's files are written: pictures, JSON, zip archives, the same bytes each time."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tinyllava_core.toyworld.scene import Scene, render


def jpeg(scene: Scene) -> bytes:
    """Draw a scene as a JPEG file."""
    buffer = io.BytesIO()
    render(scene).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def write_json(path: Path, data: Any) -> None:
    """Write one JSON value."""
    path.write_text(json.dumps(data), encoding="utf-8")


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_docvqa(
    folder: Path, file: str, dataset: str, first_id: int, asked: Sequence[tuple[str, str, str, bytes]]
) -> None:
    """Write questions and their pictures in DocVQA's file format; `asked`: (question, answer, picture's name, JPEG) of each."""
    data: list[dict[str, Any]] = []
    for index, (question, answer, name, _) in enumerate(asked):
        entry = {"questionId": first_id + index, "question": question, "image": name, "docId": index}
        data.append(entry | {"answers": [answer], "question_types": ["handwritten"], "data_split": "val"})
    head = {"dataset_name": dataset, "dataset_version": "1.0", "dataset_split": "val"}
    write_json(folder / file, {**head, "data": data})
    write_archive(folder / "images.zip", [(name, picture) for _, _, name, picture in asked])


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip file; equal members, equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
