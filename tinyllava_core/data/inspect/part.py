"""One part of stage `inspect`: some records of an annotation file checked, or some image files looked at.

A part is a pure function of the job and its range, and leaves one file: any process may do it, at any time, and a part
that is there need not be done again. What the parts become together is inspect_merge.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.picture import Picture, look
from tinyllava_core.data.inspect.tables import CHECKED_SCHEMA, IMAGES_SCHEMA, TURN, list_array, write_whole
from tinyllava_core.data.manifest.component import OTHER, Component, subset_name
from tinyllava_core.data.record.conversation import Checked, Dropped, check
from tinyllava_core.data.record.formats import parser
from tinyllava_core.data.record.json_split import Unread, read_items
from tinyllava_core.data.record.reason import Reason
from tinyllava_core.data.record.record import Malformed, Parser, Record, Score
from tinyllava_core.data.record.values import Origin, origin_of, original_id
from tinyllava_core.errors import unforeseen
from tinyllava_core.settings.inspect import Inspect

MOST_IMAGES = 32_767  # of one record: what the tables can count
Look = Callable[[ImagePlaces, str, Inspect], Picture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The inspection of one source: everything that a part needs, and may be sent to another process."""

    source: str
    annotations: Path
    format: str  # a key of FORMATS
    images: ImagePlaces
    components: tuple[Component, ...] = ()
    limits: Inspect
    parts: Path  # folder of the parts
    look: Look = look  # a module's function, where several processes work


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Records `first` to `last` of the annotation file, or so many of the list of images; `last` is the next part's first."""

    kind: Literal["records", "images"]
    first: int
    last: int

    def file(self, job: Job) -> Path:
        """Tell where the part lies when it is done."""
        return job.parts / f"{self.kind}-{self.first:09d}-{self.last:09d}.parquet"


def cut(kind: Literal["records", "images"], total: int, size: int) -> list[Part]:
    """Cut `total` things into parts of at most `size`."""
    return [Part(kind=kind, first=first, last=min(first + size, total)) for first in range(0, total, size)]


def places_file(job: Job) -> Path:
    """Tell where the places of the items in the annotation file are: int64 [N, 2]."""
    return job.parts / "places.npy"


def paths_file(job: Job) -> Path:
    """Tell where the list of different image paths is, in their order of appearance."""
    return job.parts / "paths.arrow"


def inspect_part(job: Job, part: Part) -> None:
    """Do one part, and leave its file. Raises BadInput with the line where the annotation file is broken."""
    table = _check_records(job, part) if part.kind == "records" else _look_at_images(job, part)
    write_whole(table, part.file(job))


def _look_at_images(job: Job, part: Part) -> pa.Table:
    with pa.memory_map(str(paths_file(job))) as file:
        paths = pa.ipc.open_file(file).get_batch(0).column("path").slice(part.first, part.last - part.first).to_pylist()
    pictures = [_looked_at(job, path) for path in paths]
    columns = [
        pa.array([job.source] * len(pictures), pa.string())
        if named.name == "source"
        else pa.array([_plain(getattr(picture, named.name)) for picture in pictures], named.type)
        for named in IMAGES_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=IMAGES_SCHEMA)


def _looked_at(job: Job, path: str) -> Picture:
    """Look at one picture. Whatever it does to its reader is its own fault, and no other picture's."""
    try:
        return job.look(job.images, path, job.limits)
    except Exception as error:
        return Picture(path=path, reason=Reason.UNFORESEEN, detail=unforeseen(error))


def _plain(value: Any) -> Any:
    return [str(one) for one in value] if isinstance(value, tuple) else value


def _check_records(job: Job, part: Part) -> pa.Table:
    places = np.load(places_file(job), mmap_mode="r")[part.first : part.last]
    columns, parse = _Columns(), parser(job.format)
    for index, (_, item) in enumerate(read_items(job.annotations, places), part.first):
        columns.add(index, *_judged(job, parse, index, item))
    return columns.table()


def _judged(job: Job, parse: Parser, index: int, item: Any) -> tuple[str, str, Checked | Dropped | None, Origin]:
    """Judge one item -> (its own id, its component, the verdict, where it came from). Whatever it does is its own fault."""
    if isinstance(item, Unread):
        return "", unclaimed(job), Dropped(reason=Reason.MALFORMED, detail=item.detail), Origin()
    try:
        origin = origin_of(item)
        try:
            record = parse(job.source, index, item)
        except Malformed as fault:
            verdict = Dropped(reason=Reason.MALFORMED, detail=str(fault))
            return _original_id(item), unclaimed(job, origin.subset), verdict, origin
        claimed = next((one for one in job.components if one.claims(record.images, origin.subset)), None)
        component = claimed.name if claimed else unclaimed(job, origin.subset)
        return (
            _original_id(item),
            component,
            _checked(record, job.limits) if claimed is None or claimed.take else None,
            origin,
        )
    except Exception as error:
        return "", unclaimed(job), Dropped(reason=Reason.UNFORESEEN, detail=unforeseen(error)), Origin()


def _checked(record: Record, limits: Inspect) -> Checked | Dropped:
    if len(record.images) > MOST_IMAGES:
        return Dropped(
            reason=Reason.MALFORMED, detail=f"{len(record.images)} images; one record has at most {MOST_IMAGES}"
        )
    return check(record, limits)


def unclaimed(job: Job, subset: str | None = None) -> str:
    """Name the component of what none of the source's claims: its subset, if it is of one, or the source, if it has none."""
    return subset_name(subset) if subset else OTHER if job.components else job.source


def _original_id(item: Any) -> str:
    return original_id(item).encode(errors="backslashreplace").decode()


def _plain_score(score: Score) -> dict[str, Any]:
    return {"name": score.name, "of_record": score.of_record, "of_answers": list(score.of_answers)}


@dataclass(slots=True)
class _Columns:
    """The columns of CHECKED_SCHEMA being filled: lists of plain values, nested ones flat with their lengths."""

    index: list[int] = field(default_factory=list)
    original_id: list[str] = field(default_factory=list)
    component: list[str] = field(default_factory=list)
    taken: list[bool] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    supervised: list[bool] = field(default_factory=list)
    num_turns: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    num_paths: list[int] = field(default_factory=list)
    num_chars: list[int] = field(default_factory=list)
    repairs: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[tuple[str, ...]] = field(default_factory=list)
    scores: list[tuple[dict[str, Any], ...]] = field(default_factory=list)
    subset: list[str | None] = field(default_factory=list)
    file: list[str | None] = field(default_factory=list)
    row: list[int | None] = field(default_factory=list)
    reason: list[str | None] = field(default_factory=list)
    detail: list[str | None] = field(default_factory=list)

    def add(
        self, index: int, original_id: str, component: str, verdict: Checked | Dropped | None, origin: Origin
    ) -> None:
        """Take one judged record; None: one that is left out."""
        self.subset.append(origin.subset)
        self.file.append(origin.file)
        self.row.append(origin.row)
        self.index.append(index)
        self.original_id.append(original_id)
        self.component.append(component)
        self.taken.append(verdict is not None)
        if not isinstance(verdict, Checked):
            self.num_turns.append(0)
            self.num_paths.append(0)
            self.num_chars.append(0)
            self.scores.append(())
            self.repairs.append(())
            self.notes.append(())
            self.reason.append(verdict.reason.value if verdict else None)
            self.detail.append(verdict.detail if verdict else None)
            return
        turns = verdict.record.turns
        texts = [turn.text for turn in turns]
        self.roles += [turn.role for turn in turns]
        self.supervised += [turn.supervised for turn in turns]
        self.scores.append(tuple(_plain_score(score) for score in verdict.record.scores))
        self.texts += texts
        self.num_turns.append(len(turns))
        self.paths += verdict.record.images
        self.num_paths.append(len(verdict.record.images))
        self.num_chars.append(sum(map(len, texts)))
        self.repairs.append(tuple(repair.value for repair in verdict.repairs))
        self.notes.append(tuple(note.value for note in verdict.notes))
        self.reason.append(None)
        self.detail.append(None)

    def table(self) -> pa.Table:
        """Make the table."""
        turns = pa.StructArray.from_arrays(
            [
                pa.array(self.roles, pa.string()),
                pa.array(self.texts, pa.string()),
                pa.array(self.supervised, pa.bool_()),
            ],
            fields=list(TURN),
        )
        nested = {
            "turns": list_array(turns, self.num_turns),
            "paths": list_array(pa.array(self.paths, pa.string()), self.num_paths),
        }
        columns = [
            nested[named.name] if named.name in nested else pa.array(getattr(self, named.name), named.type)
            for named in CHECKED_SCHEMA
        ]
        return pa.Table.from_arrays(columns, schema=CHECKED_SCHEMA)
