"""A record with several questions, taken apart by a mix: each question with its pictures is a record of the shards."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import webdataset
from inspected import inspected

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.data.shard.lookup import StoredRecord
from tinyllava_core.data.shard.question import WHOLE, only
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.data.shard.shard import shard
from tinyllava_core.settings.mix import MixEntry
from tinyllava_core.settings.shard import Shard


def record(*turns: tuple[str, str], images: int = 1) -> StoredRecord:
    told: list[dict[str, Any]] = [{"role": role, "text": text, "supervised": None} for role, text in turns]
    return StoredRecord(record_id="a-0", turns=told, images=[{"path": f"{n}.png"} for n in range(images)])


def said(of: StoredRecord) -> list[str]:
    return [turn["text"] for turn in of.turns]


def test_a_question_keeps_what_stood_in_front_of_all_and_the_pictures_that_were_shown_up_to_it() -> None:
    whole = record(
        ("system", "Be brief."),
        ("user", "<image>\nWhat is it?"),
        ("assistant", "A cat."),
        ("user", "And here: <image>?"),
        ("assistant", "A dog."),
        ("user", "Which is larger?"),
        ("assistant", "The dog."),
        images=2,
    )
    assert said(only(whole, 0)) == ["Be brief.", "<image>\nWhat is it?", "A cat."]
    assert said(only(whole, 1)) == ["Be brief.", "<image>And here: <image>?", "A dog."]
    assert said(only(whole, 2)) == ["Be brief.", "<image><image>Which is larger?", "The dog."]
    assert [len(only(whole, number).images) for number in range(3)] == [1, 2, 2]
    assert only(whole, WHOLE) is whole


def test_a_mix_takes_apart_what_its_entry_says_and_the_rest_stays_whole(tmp_path: Path) -> None:
    three = {"says": ["<image>q0", "a0", "q1", "a1", "q2", "a2"]}
    a = inspected(tmp_path / "a", "a", [three, {"says": ["<image>q", "a"]}])
    b = inspected(tmp_path / "b", "b", [three])
    (tmp_path / "mix").mkdir()
    mix([(MixEntry(source="a", one_question_per_record=True), a), (MixEntry(source="b"), b)], 3, tmp_path / "mix")
    rows = pq.read_table(tmp_path / "mix" / "mix.parquet").to_pylist()
    assert [row["position"] for row in rows] == list(range(5))
    assert [row["question"] for row in rows if row["record_id"] == "a-00000000"] == [0, 1, 2]
    assert {row["record_id"]: row["question"] for row in rows}["a-00000001"] is None
    assert [row["question"] for row in rows if row["source"] == "b"] == [None]
    places = [row["position"] for row in rows if row["record_id"] == "a-00000000"]
    assert places == list(range(places[0], places[0] + 3))  # beside each other


def test_the_shards_hold_each_question_as_a_record_with_its_picture(
    tmp_path: Path, photos: dict[str, bytes], downloaded: Callable[..., Any], llava: Callable[..., Any]
) -> None:
    """Two photographs of three questions each, as LLaVA writes them."""
    items = [
        llava(path, f"<image>{path} 0", *(f"{path} {number}" for number in range(1, 6)), id=path)
        for path in list(photos)[:2]
    ]
    folder, result = downloaded("photos", items, photos)
    (tmp_path / "inspected").mkdir()
    inspect_source(folder, result, "llava", 0.0, tmp_path / "inspected")
    source = InspectedSource(name="photos", records=tmp_path / "inspected", images=ImagePlaces.one(folder / "images"))
    for name in ("mix", "out"):
        (tmp_path / name).mkdir()
    mixed = mix([(MixEntry(source="photos", one_question_per_record=True), source)], 3, tmp_path / "mix")
    assert (mixed.num_records, mixed.num_distinct_records) == (6, 2)
    shard(tmp_path / "mix", [source], Shard(records_per_shard=100), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert len(reader) == 6
    for row in range(6):
        question, answer = reader.turns(row)
        path, number = question.text.removeprefix("<image>").rsplit(" ", 1)
        assert question.text.startswith("<image>")
        assert answer.text == f"{path} {int(number) + 1}"
        assert reader.images(row) == [photos[path]]
    once = shard(tmp_path / "mix", [source], Shard(records_per_shard=100, pictures_once=True), tmp_path / "once")
    assert once.size_bytes < 0.4 * sum(tar.stat().st_size for tar in (tmp_path / "out").glob("*.tar")), "two of six"
    again = ShardReader(tmp_path / "once")
    assert [again.images(row) for row in range(6)] == [reader.images(row) for row in range(6)]
    assert [again.told(row) for row in range(6)] == [reader.told(row) for row in range(6)]
    assert [again.image_names(row) for row in range(6)] == [reader.image_names(row) for row in range(6)]
    with tarfile.open(tmp_path / "once" / "shard-000000.tar") as tar:  # Python's own reader follows the links
        pictures = [member for member in tar.getmembers() if not member.name.endswith(".json")]
        assert [tar.extractfile(member).read() for member in pictures] == [reader.images(row)[0] for row in range(6)]  # type: ignore[union-attr]
        assert [member.islnk() for member in pictures] == [False, True, True] * 2
    others = list(webdataset.WebDataset(str(tmp_path / "once" / "shard-000000.tar"), shardshuffle=False))
    assert [("jpg" in sample or "png" in sample) for sample in others] == [True, False, False] * 2, "as the card says"
    assert "`webdataset` and `datasets` leave links out" in (tmp_path / "once" / "README.md").read_text()


def test_a_tar_that_holds_pictures_once_is_cut_by_what_it_will_hold(
    tmp_path: Path, photos: dict[str, bytes], downloaded: Callable[..., Any], llava: Callable[..., Any]
) -> None:
    """Ten questions about one photograph, and room for it twice: one tar, where it would be five."""
    path = next(iter(photos))
    folder, result = downloaded("photos", [llava(path, "<image>0", *(f"{n}" for n in range(1, 20)))], photos)
    for name in ("inspected", "mix", "once", "each"):
        (tmp_path / name).mkdir()
    inspect_source(folder, result, "llava", 0.0, tmp_path / "inspected")
    source = InspectedSource(name="photos", records=tmp_path / "inspected", images=ImagePlaces.one(folder / "images"))
    mix([(MixEntry(source="photos", one_question_per_record=True), source)], 3, tmp_path / "mix")
    room = 2 * len(photos[path]) + 20_000
    each = shard(tmp_path / "mix", [source], Shard(size_bytes=room), tmp_path / "each")
    once = shard(tmp_path / "mix", [source], Shard(size_bytes=room, pictures_once=True), tmp_path / "once")
    assert (each.num_shards, once.num_shards) == (5, 1)
    assert once.size_bytes <= room
