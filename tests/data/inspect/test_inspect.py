import dataclasses
import hashlib
import json

import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.inspect import inspect as module
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.inspect.picture import look
from tinyllava_core.data.manifest.component import Component
from tinyllava_core.data.record.reason import Reason
from tinyllava_core.errors import BadInput
from tinyllava_core.results import InspectResult


@pytest.fixture
def planted(llava, photos):
    """Records with each kind of fault once; the wanted reason (None: good) beside each."""
    pairs = [
        (llava("people/astronaut.jpg", "<image>\nWho?", "An astronaut.", id="a"), None),
        (llava(None, "Hello", "Hi.", id=5), None),
        (llava(["coffee.png", "cats/chelsea.jpg"], "<image><image>\nCompare.", "Coffee, then a cat."), None),
        (llava("camera.png", "Who is it?", "A man with a camera."), None),  # repaired
        (llava("none.jpg", "<image>\nWho?", "Nobody."), Reason.MISSING_IMAGE),
        (llava("cut.jpg", "<image>\nWho?", "Half a man."), Reason.TRUNCATED_IMAGE),
        (llava("empty.jpg", "<image>\nWho?", "Nobody."), Reason.EMPTY_IMAGE),
        (llava("page.jpg", "<image>\nWho?", "Nobody."), Reason.NOT_AN_IMAGE),
        (llava("../secret.jpg", "<image>\nWho?", "Nobody."), Reason.IMAGE_OUTSIDE_ROOT),
        (llava(None), Reason.NO_TURNS),
        (llava("coffee.png", "<image>\nWhat?", " "), Reason.EMPTY_ANSWER),
        (llava("coffee.png", "<image>\nWhat?", "An <image>."), Reason.IMAGE_TAG_IN_ANSWER),
        (llava(None, "<image>\nWhat?", "A lost one."), Reason.IMAGE_TAG_MISMATCH),
        (llava(["coffee.png", "none.jpg"], "<image><image>", "One is gone."), Reason.MISSING_IMAGE),
        (llava(None, "\ud800", "Half a pair."), Reason.INVALID_TEXT),
        ("no record", Reason.MALFORMED),
        ({"id": "b", "conversations": [{"from": "observer", "value": "x"}]}, Reason.UNKNOWN_ROLE),
        ({"id": "b", "conversations": [{"from": "gpt", "value": "x"}]}, Reason.FIRST_TURN_NOT_USER),
        ({"id": "b", "conversations": [{"from": "human", "value": "x"}] * 2}, Reason.ROLES_DO_NOT_ALTERNATE),
        ({"id": "b", "conversations": [{"from": "human", "value": "x"}]}, Reason.NO_ANSWER),
    ]
    images = photos | {"cut.jpg": photos["people/astronaut.jpg"][:9000], "empty.jpg": b"", "page.jpg": b"<html>"}
    return [record for record, _ in pairs], [reason for _, reason in pairs], images


@pytest.mark.parametrize("size", [3, 10_000])
def test_every_planted_fault_is_found_under_its_reason_and_nothing_is_lost(
    tmp_path, monkeypatch, downloaded, planted, size
):
    monkeypatch.setattr(module, "RECORDS_PER_PART", size)
    records, reasons, images = planted
    folder, result = downloaded("mine", records, images)
    found = inspect_source(folder, result, "llava", 0.9, tmp_path, expected_count=20)
    sizes = [len(images[path]) for path in ("people/astronaut.jpg", "coffee.png", "cats/chelsea.jpg", "camera.png")]
    assert found == InspectResult(
        source="mine",
        num_records=20,
        num_good=4,
        num_dropped=16,
        num_left_out=0,
        num_images=4,
        image_bytes=sum(sizes),
        num_repaired=1,
        num_noted=0,
    )
    good = pq.read_table(tmp_path / "records.parquet").to_pylist()
    bad = pq.read_table(tmp_path / "dropped.parquet").to_pylist()
    assert [row["index"] for row in good] == [0, 1, 2, 3]
    assert {row["index"]: row["reason"] for row in bad} == {n: r.value for n, r in enumerate(reasons) if r is not None}
    assert sorted(row["record_id"] for row in good + bad) == [f"mine-{index:08d}" for index in range(20)]
    assert all(json.loads(row["record_json"]) == records[row["index"]] for row in bad)


def test_a_good_record_is_written_whole(tmp_path, downloaded, planted):
    records, _, images = planted
    folder, result = downloaded("mine", records[:4], images)
    inspect_source(folder, result, "llava", 0.0, tmp_path)
    rows = pq.read_table(tmp_path / "records.parquet").to_pylist()
    cat = images["cats/chelsea.jpg"]
    assert rows[2]["images"][1] == {
        "path": "cats/chelsea.jpg",
        "sha256": hashlib.sha256(cat).hexdigest(),
        "width": 451,
        "height": 300,
        "format": "JPEG",
        "size_bytes": len(cat),
        "repairs": [],
        "repaired_sha256": None,
    }
    assert rows[0] | {"images": None} == {
        "record_id": "mine-00000000",
        "source": "mine",
        "index": 0,
        "original_id": "a",
        "component": "mine",
        "turns": [
            {"role": "user", "text": "<image>\nWho?", "supervised": True},
            {"role": "assistant", "text": "An astronaut.", "supervised": True},
        ],
        "images": None,
        "num_images": 1,
        "num_turns": 2,
        "num_chars": 25,  # 12 and 13
        "repairs": [],
        "notes": [],
        "scores": [],
        "subset": None,
        "file": None,
        "row": None,
    }
    assert [row["num_images"] for row in rows] == [1, 0, 2, 1]
    assert rows[1]["original_id"] == "5"
    assert rows[3]["repairs"] == ["tag_added"]
    assert rows[3]["turns"][0]["text"] == "<image>\nWho is it?"


def test_each_image_is_looked_at_once_and_listed_with_its_fault(tmp_path, monkeypatch, downloaded, planted):
    looked: list[str] = []
    monkeypatch.setattr(module, "RECORDS_PER_PART", 2)
    monkeypatch.setattr(module, "IMAGES_PER_PART", 2)
    records, _, images = planted
    folder, result = downloaded("mine", records * 2, images)

    def noticed(places, path, limits):
        looked.append(path)
        return look(places, path, limits)

    inspect_source(folder, result, "llava", 0.9, tmp_path, look=noticed, processes=1)
    table = pq.read_table(tmp_path / "images.parquet").to_pylist()
    assert len(looked) == len(set(looked)) == len(table)
    assert {row["path"]: row["reason"] for row in table} == {
        "people/astronaut.jpg": None,
        "coffee.png": None,
        "cats/chelsea.jpg": None,
        "camera.png": None,
        "none.jpg": "missing_image",
        "cut.jpg": "truncated_image",
        "empty.jpg": "empty_image",
        "page.jpg": "not_an_image",
        "../secret.jpg": "image_outside_root",
    }


def test_json_lines_and_an_absolute_root_do_as_well(tmp_path, downloaded, llava, photos):
    lines = "\n".join(json.dumps(llava(path, "<image>", "x")) for path in photos)
    folder, result = downloaded("mine", lines, photos, suffix=".jsonl")
    result = dataclasses.replace(
        result, annotations=str(folder / "annotations.jsonl"), image_root=str(folder / "images")
    )
    assert inspect_source(tmp_path / "elsewhere", result, "llava", 0.0, tmp_path).num_good == 4


def test_too_many_lost_records_stop_the_stage_with_counts_and_advice(tmp_path, downloaded, llava):
    records = [llava("none.jpg", "<image>", "x")] * 2 + [llava(None, "q", "")] + [llava(None, "q", "a")] * 7
    folder, result = downloaded("mine", records, {})
    with pytest.raises(BadInput) as error:
        inspect_source(folder, result, "llava", 0.29, tmp_path)
    text = str(error.value)
    assert "source 'mine': 3 of 10 records are unusable (missing_image 2, empty_answer 1), each in " in text
    assert "more than max_lost_fraction 0.29; mend the data, or raise" in text
    assert "dropped.parquet" in text
    assert "\n" not in text
    assert inspect_source(folder, result, "llava", 0.3, tmp_path).num_dropped == 3


def test_a_source_without_one_good_record_stops_at_any_fraction(tmp_path, downloaded, llava):
    folder, result = downloaded("mine", [llava("none.jpg", "<image>", "x")], {})
    with pytest.raises(BadInput, match=r"1 of 1 records are unusable .*: none is left; mend the data$"):
        inspect_source(folder, result, "llava", 1.0, tmp_path)


def test_an_empty_file_stops(tmp_path, downloaded):
    folder, result = downloaded("mine", [], {})
    with pytest.raises(BadInput, match="no records"):
        inspect_source(folder, result, "llava", 1.0, tmp_path)


def test_broken_json_is_named_by_file_and_line(tmp_path, downloaded):
    folder, result = downloaded("mine", '[\n{"id": "1", "conversations": []},\n{"id": "2" "conversations": []}\n]', {})
    with pytest.raises(BadInput, match=r"annotations\.json, line 3: broken JSON"):
        inspect_source(folder, result, "llava", 1.0, tmp_path)


def test_another_count_than_the_manifests_stops(tmp_path, downloaded, llava):
    folder, result = downloaded("mine", [llava(None, "q", "a")] * 3, {})
    with pytest.raises(BadInput, match="3 records, the manifest expects 4"):
        inspect_source(folder, result, "llava", 1.0, tmp_path, expected_count=4)


def test_an_unknown_format_lists_the_known(tmp_path, downloaded):
    folder, result = downloaded("mine", [], {})
    with pytest.raises(BadInput, match="unknown annotation format 'lava'; nearest: 'llava'"):
        inspect_source(folder, result, "lava", 1.0, tmp_path)


def test_progress_is_told_by_the_part(tmp_path, monkeypatch, downloaded, llava, photos):
    monkeypatch.setattr(module, "RECORDS_PER_PART", 2)
    folder, result = downloaded("mine", [llava("coffee.png", "<image>", "a")] * 5, photos)
    told = []
    inspect_source(folder, result, "llava", 0.0, tmp_path, expected_count=5, on_progress=told.append)
    assert [(progress.done, progress.total, progress.unit) for progress in told] == [
        (2, 5, "records"),
        (4, 5, "records"),
        (5, 5, "records"),
        (1, 1, "images"),
    ]


PARTS = (
    Component(name="coco", prefix="coco/train2017", count=2),
    Component(name="sam", prefix="sam", take=False),
    Component(name="text", text_only=True),
)


@pytest.fixture
def parts(llava, photos):
    """One record of each component, one more of coco without an answer, two that none claims: another folder, no record."""
    asked = ("<image>\nWhat?", "A man.")
    paths = ("coco/train2017/1.jpg", "sam/2.jpg", None, "coco/train2017_2/1.jpg")
    records = [llava(path, *(asked if path else ("Say a.", "a."))) for path in paths]
    records += [llava("coco/train2017/1.jpg", "<image>\nWhat?"), "no record"]
    images = dict.fromkeys(("coco/train2017/1.jpg", "coco/train2017_2/1.jpg"), photos["people/astronaut.jpg"])
    return records, images


def test_every_record_has_its_component_and_what_is_left_out_is_counted_not_looked_at(tmp_path, downloaded, parts):
    folder, result = downloaded("mine", *parts)
    found = inspect_source(folder, result, "llava", 0.5, tmp_path, components=PARTS)
    assert (found.num_records, found.num_good, found.num_dropped, found.num_left_out) == (6, 3, 2, 1)
    good, bad = (pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("records", "dropped"))
    assert {row["index"]: row["component"] for row in good} == {0: "coco", 2: "text", 3: "other"}
    assert {row["index"]: row["component"] for row in bad} == {4: "coco", 5: "other"}
    assert "sam/2.jpg" not in pq.read_table(tmp_path / "images.parquet")["path"].to_pylist()


def test_what_is_left_out_does_not_count_as_lost_nor_as_there(tmp_path, downloaded, parts):
    folder, result = downloaded("mine", *parts)
    with pytest.raises(BadInput, match="2 of 5 records are unusable"):
        inspect_source(folder, result, "llava", 0.39, tmp_path, components=PARTS)


def test_a_component_with_another_count_than_the_manifests_stops(tmp_path, downloaded, parts):
    folder, result = downloaded("mine", *parts)
    wrong = (Component(name="coco", prefix="coco/train2017", count=3), *PARTS[1:])
    with pytest.raises(BadInput, match="2 records of component 'coco', the manifest expects 3"):
        inspect_source(folder, result, "llava", 0.5, tmp_path, components=wrong)
