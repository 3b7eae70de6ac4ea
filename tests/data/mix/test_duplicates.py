"""Duplicates: what is one, which stays, and what dropping does. Hashes are made by hand: 32 bits set, then some flipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from inspected import inspected

from tinyllava_core.data.mix.mix import mix
from tinyllava_core.settings.mix import Contamination, Duplicates, MixEntry

PLAIN = 0x00000000FFFFFFFF
SAME = ["<image>\nWhat is it?", "A cat."]


def shot(path: str, flipped: int = 0, **more: Any) -> dict[str, Any]:
    """A picture that looks like any other but for so many bits."""
    return {"path": path, "phash": PLAIN ^ ((1 << flipped) - 1), **more}


def run(
    tmp_path: Path, sources: dict[str, list[dict]], seed: int = 0, **asked: Any
) -> tuple[list[tuple], list[str], Any]:
    """Mix, and give (record, first, how, distance) of the duplicates, the records that are in the mix, and the result."""
    out = tmp_path / f"out-{seed}"
    out.mkdir()
    entries = [
        (MixEntry(source=name), inspected(tmp_path / str(seed) / name, name, records))
        for name, records in sources.items()
    ]
    result = mix(entries, seed, out, duplicates=Duplicates(**asked), contamination=Contamination(action=None))
    found = pq.read_table(out / "duplicates.parquet").to_pylist()
    pairs = [(row["record_id"], row["first_record_id"], row["how"], row["distance"]) for row in found]
    assert {row["dropped"] for row in found} <= {True, False}
    return pairs, sorted(pq.read_table(out / "mix.parquet")["record_id"].to_pylist()), result


def names(*numbers: int) -> list[str]:
    return [f"a-{number:08d}" for number in numbers]


def test_the_same_text_and_pixels_are_an_exact_duplicate_whatever_the_file(tmp_path: Path) -> None:
    records = [
        {"says": SAME, "images": [{"path": "1.jpg", "pixel_hash": "p"}]},
        {"says": ["What  is it?<image>", " a cat.\n"], "images": [{"path": "2.png", "pixel_hash": "p"}]},  # the same
        {"says": SAME, "images": [{"path": "3.jpg", "pixel_hash": "q"}]},  # another picture
        {
            "says": ["<image>\nWhat is it?", "A dog."],
            "images": [{"path": "1.jpg", "pixel_hash": "p"}],
        },  # another answer
        {"says": ["Hello", "Good day"], "images": []},
        {"says": ["hello", "good  day"], "images": []},
        {"says": ["hellogood", "day"], "images": []},  # turns are not run together
    ]
    pairs, kept, result = run(tmp_path, {"a": records})
    assert pairs == [(*names(1, 0), "exact", 0), (*names(5, 4), "exact", None)]
    assert len(kept) == 7  # reported alone
    assert (result.num_duplicates, result.num_left_out) == (2, 0)


def test_two_pictures_in_another_order_are_no_duplicate(tmp_path: Path) -> None:
    says = ["<image><image>\nWhich?", "The first."]
    records = [{"says": says, "images": ["1.jpg", "2.jpg"]}, {"says": says, "images": ["2.jpg", "1.jpg"]}]
    assert run(tmp_path, {"a": records})[0] == []


@pytest.mark.parametrize("seed", [0, 1])
def test_dropped_duplicates_are_left_out_and_the_first_stays_whatever_the_seed(tmp_path: Path, seed: int) -> None:
    records = [{"says": SAME, "images": [{"path": f"{n}.jpg", "pixel_hash": "p"}]} for n in range(3)]
    pairs, kept, _ = run(tmp_path, {"a": records}, seed, exact="drop")
    assert pairs == [(*names(1, 0), "exact", 0), (*names(2, 0), "exact", 0)]
    assert kept == names(0)
    left = pq.read_table(tmp_path / f"out-{seed}" / "left_out.parquet").to_pylist()
    assert [(row["record_id"], row["rule"], row["value"]) for row in left] == [
        (name, "exact duplicate", names(0)[0]) for name in names(1, 2)
    ]


def test_duplicates_are_looked_for_in_the_mix_or_in_each_source(tmp_path: Path) -> None:
    record = {"says": SAME, "images": [{"path": "1.jpg", "pixel_hash": "p"}]}
    assert run(tmp_path, {"b": [record], "a": [record]})[0] == [("b-00000000", "a-00000000", "exact", 0)]
    assert run(tmp_path, {"b": [record], "a": [record]}, seed=1, within="source")[0] == []


def test_near_duplicates_say_the_same_about_pictures_that_look_the_same(tmp_path: Path) -> None:
    records = [
        {"says": SAME, "images": [shot("0.jpg")]},
        {"says": SAME, "images": [shot("1.jpg", 3)]},
        {"says": SAME, "images": [shot("2.jpg", 4)]},  # one bit from 1, but 1 is a duplicate itself, and 4 from 0
        {"says": SAME, "images": [shot("3.jpg", 6)]},  # two bits from 2
        {"says": ["<image>\nWhat else is it?", "A cat."], "images": [shot("4.jpg")]},
        {"says": SAME, "images": [{"path": "5.jpg", "phash": 1}]},  # without detail: like any other
        {"says": SAME, "images": [{"path": "6.jpg", "phash": 1}]},
    ]
    pairs, kept, _ = run(tmp_path, {"a": records}, exact="drop", near="drop", max_distance=3)
    assert pairs == [(*names(1, 0), "near", 3), (*names(3, 2), "near", 2)]
    assert kept == names(0, 2, 4, 5, 6)


def test_of_several_pictures_each_must_look_the_same(tmp_path: Path) -> None:
    says = ["<image><image>\nWhich?", "The first."]
    records = [
        {"says": says, "images": [shot("0.jpg"), shot("x.jpg", 20)]},
        {"says": says, "images": [shot("1.jpg", 1), shot("y.jpg", 18)]},
        {"says": says, "images": [shot("2.jpg", 1), shot("z.jpg", 10)]},
    ]
    assert run(tmp_path, {"a": records}, near="report")[0] == [(*names(1, 0), "near", 1)]


def test_exact_copies_of_a_near_duplicate_go_with_it(tmp_path: Path) -> None:
    records = [
        {"says": SAME, "images": [shot("0.jpg")]},
        {"says": SAME, "images": [shot("1.jpg", 2, pixel_hash="p")]},
        {"says": SAME, "images": [shot("2.jpg", 2, pixel_hash="p")]},
    ]
    pairs, kept, _ = run(tmp_path, {"a": records}, exact="drop", near="drop")
    assert pairs == [(*names(1, 0), "near", 2), (*names(2, 1), "exact", 0)]
    assert kept == names(0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"exact": None, "near": "report"}, "near without exact"),
        ({"near": "drop"}, "set exact: drop"),
        ({"max_distance": 5}, "no effect without near"),
        ({"exact": None, "within": "source"}, "no effect without exact"),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(asked: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Duplicates(**asked)
