"""Contamination: a training picture that is a benchmark's, by each way of finding it; and what dropping does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from inspected import inspected, write_images

from tinyllava_core.data.mix.contamination import vg_coco
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.mix import Contamination, MixEntry

PLAIN, OTHER = 0x00000000FFFFFFFF, 0xFFFFFFFF00000000


def find(
    tmp_path: Path, images: list[Any], asked: list[Any], source: str = "mine", benchmark: str = "quiz", **settings: Any
) -> list[tuple[str, str, str, int | None]]:
    """Mix records of one image each, and give (image, benchmark's image, how, distance)."""
    write_images(fresh(tmp_path / "benchmark"), benchmark, asked)
    place = inspected(tmp_path / "train", source, [{"images": [image]} for image in images])
    entries = [(MixEntry(source=source), place)]
    mix(
        entries,
        0,
        fresh(tmp_path / "out"),
        contamination=Contamination(**settings),
        benchmarks=[tmp_path / "benchmark"],
    )
    rows = pq.read_table(tmp_path / "out" / "contamination.parquet").to_pylist()
    assert {row["benchmark"] for row in rows} <= {benchmark}
    return [(row["image"], row["benchmark_image"], row["how"], row["distance"]) for row in rows]


def fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_picture_is_found_by_the_surest_way(tmp_path: Path) -> None:
    images = [
        {"path": "1.jpg", "sha256": "s", "pixel_hash": "p", "phash": PLAIN},
        {"path": "2.jpg", "pixel_hash": "p", "phash": PLAIN},
        {"path": "3.jpg", "phash": PLAIN ^ 0b111},
        {"path": "4.jpg", "phash": PLAIN ^ 0b1111},
        {"path": "5.jpg", "phash": 1},
    ]
    asked = [{"path": "q.jpg", "sha256": "s", "pixel_hash": "p", "phash": PLAIN}, {"path": "r.jpg", "phash": 1}]
    assert find(tmp_path, images, asked, max_distance=3) == [
        ("1.jpg", "q.jpg", "bytes", 0),
        ("2.jpg", "q.jpg", "pixels", 0),
        ("3.jpg", "q.jpg", "looks", 3),
    ]


@pytest.mark.parametrize(
    ("image", "asked", "benchmark", "how"),
    [
        ("coco/train2017/000000000139.jpg", "COCO_val2014_000000000139.jpg", "pope", "coco_id"),
        ("coco/train2017/000000000139.jpg", "val2014/COCO_val2014_000000000139.jpg", "pope", "coco_id"),
        ("coco/train2017/000000000139.jpg", "COCO_test2015_000000000139.jpg", "vqav2", "coco_id"),
        ("coco/train2017/000000000139.jpg", "COCO_val2014_000000000140.jpg", "pope", None),
        ("vg/VG_100K/2354786.jpg", "2354786.jpg", "gqa", "vg_id"),
        ("vg/VG_100K_2/2354786.jpg", "2354786.jpg", "gqa-testdev", "vg_id"),
        ("gqa/images/2354786.jpg", "images/2354786.jpg", "gqa", "vg_id"),
        ("gqa/images/2354786.jpg", "2354786.jpg", "sqa", None),  # a number like any other
        ("other/2354786.jpg", "2354786.jpg", "gqa", None),
        ("textvqa/train_images/0054c91397f2fe05.jpg", "0054c91397f2fe05.jpg", "textvqa", "openimages_id"),
        (
            "llava/00001/000000139.jpg",
            "COCO_val2014_000000000139.jpg",
            "pope",
            None,
        ),  # nine digits: LAION's, not COCO's
    ],
)
def test_published_ids_in_file_names_are_compared(
    tmp_path: Path, image: str, asked: str, benchmark: str, how: str | None
) -> None:
    found = find(tmp_path, [image], [asked], benchmark=benchmark)
    assert found == ([(image, asked, how, None)] if how else [])


def test_ids_may_be_left_alone_and_the_distance_tells_what_an_id_is_worth(tmp_path: Path) -> None:
    image, asked = "coco/train2017/000000000139.jpg", "COCO_val2014_000000000139.jpg"
    pictures = [{"path": image, "phash": PLAIN}], [{"path": asked, "phash": OTHER}]
    assert find(fresh(tmp_path / "with"), *pictures) == [(image, asked, "coco_id", 64)]
    assert find(fresh(tmp_path / "without"), *pictures, ids=False) == []


def test_visual_genomes_own_file_tells_which_picture_is_cocos(tmp_path: Path) -> None:
    file = tmp_path / "image_data.json"
    file.write_text(
        json.dumps([{"image_id": 7, "coco_id": 139, "url": ""}, {"image_id": 8, "coco_id": None, "url": ""}])
    )
    images, asked = ["vg/VG_100K/7.jpg", "gqa/images/7.jpg", "vg/VG_100K/8.jpg"], ["COCO_val2014_000000000139.jpg"]
    found = find(tmp_path, images, asked, benchmark="pope", vg_image_data=str(file))
    assert [(image, how) for image, _, how, _ in found] == [(images[0], "coco_id"), (images[1], "coco_id")]


def test_a_file_that_is_not_visual_genomes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"id": 1}]')
    with pytest.raises(BadInput, match=r"expected Visual Genome's image_data.json.*KeyError: 'coco_id'"):
        vg_coco(str(tmp_path / "x.json"))
    with pytest.raises(BadInput, match="No such file"):
        vg_coco(str(tmp_path / "y.json"))


def test_contaminated_records_are_dropped_if_asked_before_duplicates_are_looked_for(tmp_path: Path) -> None:
    """Record 1 says the same as record 0; both show the picture, so neither is a duplicate of one that stays."""
    same = {"says": ["<image>\nWhat?", "A cat."]}
    records = [
        same | {"images": [{"path": "0.jpg", "pixel_hash": "p"}]},
        same | {"images": [{"path": "1.jpg", "pixel_hash": "p"}]},
        {"images": ["2.jpg"]},
        {"images": []},
    ]
    write_images(fresh(tmp_path / "benchmark"), "quiz", [{"path": "q.jpg", "pixel_hash": "p"}])
    entries = [(MixEntry(source="a"), inspected(tmp_path / "a", "a", records))]
    out = fresh(tmp_path / "out")
    result = mix(entries, 0, out, contamination=Contamination(action="drop"), benchmarks=[tmp_path / "benchmark"])
    left = pq.read_table(out / "left_out.parquet").to_pylist()
    assert [(row["record_id"], row["rule"], row["value"]) for row in left] == [
        ("a-00000000", "contaminated", "quiz q.jpg by pixels"),
        ("a-00000001", "contaminated", "quiz q.jpg by pixels"),
    ]
    assert (result.num_records, result.num_contaminated, result.num_duplicates) == (2, 2, 0)
    assert pq.read_table(out / "contamination.parquet")["dropped"].to_pylist() == [True, True]


def test_a_record_that_a_filter_left_out_contaminates_nothing(tmp_path: Path) -> None:
    write_images(fresh(tmp_path / "benchmark"), "quiz", ["0.jpg"])
    place = inspected(tmp_path / "a", "a", [{"images": ["0.jpg"]}, {"images": ["1.jpg"]}])
    entries = [(MixEntry(source="a", filters=("index > 0",)), place)]
    assert mix(entries, 0, fresh(tmp_path / "out"), benchmarks=[tmp_path / "benchmark"]).num_contaminated == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"action": None, "against": ["pope"]}, "the other fields have no effect"),
        ({"ids": False, "vg_image_data": "x.json"}, "no effect with ids: false"),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(asked: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Contamination(**asked)
