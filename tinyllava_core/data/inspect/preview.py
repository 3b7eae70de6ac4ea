"""Choose a few records of a source and judge them as stage `inspect` would, to be looked at. It writes nothing."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from tinyllava_core.data.inspect.picture import Picture, look
from tinyllava_core.data.inspect.repair import mend, open_image
from tinyllava_core.data.manifest.located import Located, locate
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.data.record.conversation import Checked, Dropped, check
from tinyllava_core.data.record.formats import parser, sniff_file
from tinyllava_core.data.record.json_split import Unread, item_places, read_items
from tinyllava_core.data.record.reason import Reason
from tinyllava_core.data.record.record import Malformed, Record, Turn, record_id
from tinyllava_core.settings.inspect import Inspect

_SEARCHED = 20_000  # records looked at for dropped ones, where no inspection lists them
_SIDE = 480  # pixels of a shown picture's longer side


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPicture:
    """One picture of a shown record."""

    path: str
    jpeg: bytes | None  # small; None: it cannot be shown
    told: str  # size and format, or what is wrong
    reason: str | None
    size: tuple[int, int] = (0, 0)  # pixels across and down; of one that cannot be shown, none


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One record to look at."""

    record_id: str
    original_id: str
    reason: str | None  # None: good
    detail: str
    turns: tuple[Turn, ...]  # as it is trained on; as it was written, if it is dropped
    pictures: tuple[ShownPicture, ...]
    repairs: tuple[str, ...]
    notes: tuple[str, ...]
    written: str  # the record's JSON, where there is no conversation to show


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A few records of a source."""

    manifest: Manifest
    num_records: int
    num_searched: int  # records judged to find these
    shown: tuple[Shown, ...]


def preview(manifest: Manifest, workspace: Path, count: int, seed: int, dropped: bool) -> Preview:
    """Choose `count` good records of a source (or dropped ones) by chance, the same for the same seed.

    Raises BadInput if the source is not on this disk.
    """
    located = locate(manifest, workspace)
    places = item_places(located.annotations)
    shown, searched = list[Shown](), 0
    for index in _candidates(located, len(places), seed, dropped):
        if len(shown) == count:
            break
        searched += 1
        one = _judged(manifest, located, places, index)
        if (one.reason is not None) == dropped:
            shown.append(one)
    return Preview(manifest=manifest, num_records=len(places), num_searched=searched, shown=tuple(shown))


def _candidates(located: Located, num_records: int, seed: int, dropped: bool) -> Iterator[int]:
    """Give places in the annotation file by chance; dropped ones where an inspection knows them."""
    chance = random.Random(seed)
    if dropped and located.inspected is not None:
        known = pq.read_table(located.inspected / "dropped.parquet", columns=["index"])["index"].to_pylist()
        yield from chance.sample(known, len(known))
    else:
        yield from chance.sample(range(num_records), min(num_records, _SEARCHED))


def _judged(manifest: Manifest, located: Located, places: np.ndarray, index: int) -> Shown:
    ((written, item),) = read_items(located.annotations, places[index : index + 1])
    assert manifest.annotations is not None
    if isinstance(item, Unread):
        unread = Dropped(reason=Reason.MALFORMED, detail=item.detail)
        return _shown(manifest, index, written.decode("utf-8", "replace"), unread, (), ())
    limits = _limits(located)
    try:
        record = parser(manifest.annotations.format or sniff_file(located.annotations))(manifest.name, index, item)
    except Malformed as fault:
        return _shown(manifest, index, item, Dropped(reason=Reason.MALFORMED, detail=str(fault)), (), ())
    verdict = check(record, limits)
    if isinstance(verdict, Dropped) and verdict.reason == Reason.INVALID_TEXT:
        return _shown(manifest, index, json.loads(written.decode("utf-8", "replace")), verdict, (), ())
    looked = [look(located.images, path, limits) for path in record.images]
    pictures = tuple(_picture(located, picture) for picture in looked)
    if isinstance(verdict, Checked):
        faulty = next((picture for picture in looked if picture.reason), None)
        if faulty is not None and faulty.reason is not None:
            verdict = Dropped(reason=faulty.reason, detail=f"{faulty.path}: {faulty.detail}")
    return _shown(manifest, index, item, verdict, pictures, tuple(looked), record)


def _shown(
    manifest: Manifest,
    index: int,
    item: Any,
    verdict: Checked | Dropped,
    pictures: tuple[ShownPicture, ...],
    looked: tuple[Picture, ...],
    record: Record | None = None,
) -> Shown:
    is_good = isinstance(verdict, Checked)
    turns = verdict.record.turns if isinstance(verdict, Checked) else record.turns if record else ()
    of_images = {
        word: [str(one) for picture in looked for one in getattr(picture, word)] for word in ("repairs", "notes")
    }
    of_words = {word: [str(one) for one in getattr(verdict, word, ())] for word in ("repairs", "notes")}
    told = {word: tuple(dict.fromkeys(of_words[word] + of_images[word])) if is_good else () for word in of_images}
    original = item.get("id", "") if isinstance(item, dict) else ""
    return Shown(
        record_id=record_id(manifest.name, index),
        original_id=str(original),
        reason=None if isinstance(verdict, Checked) else verdict.reason.value,
        detail="" if isinstance(verdict, Checked) else verdict.detail,
        turns=turns,
        pictures=pictures,
        repairs=told["repairs"],
        notes=told["notes"],
        written="" if turns else json.dumps(item, indent=1)[:2000],
    )


def _limits(located: Located) -> Inspect:
    """Give the limits of the inspection that there is, else the defaults."""
    if located.inspected is None:
        return Inspect()
    told = json.loads((located.inspected / "result.json").read_text(encoding="utf-8"))
    return Inspect.parse(told["spec"].get("limits", {}), str(located.inspected))


def _picture(located: Located, picture: Picture) -> ShownPicture:
    if picture.reason is not None:
        return ShownPicture(path=picture.path, jpeg=None, told=picture.detail, reason=picture.reason.value)
    file = located.images.look_up(picture.path)
    assert file is not None, "it was there a moment ago"
    size = (picture.width or 0, picture.height or 0)
    with open_image(file.read_bytes()) as image:
        small = mend(image, picture.repairs).convert("RGB")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    told = f"{size[0]} × {size[1]} {picture.format}"
    return ShownPicture(path=picture.path, jpeg=buffer.getvalue(), told=told, reason=None, size=size)
