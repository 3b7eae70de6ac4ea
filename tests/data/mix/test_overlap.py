"""What is told of a finished mix: of the records that are in it, and of no others."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from inspected import inspected, write_images

from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.mix.overlap import overlap_benchmarks, overlap_itself
from tinyllava_core.results import OverlapResult
from tinyllava_core.settings.mix import Contamination, Duplicates, MixEntry

SAME = ["<image>\nWhat is it?", "A cat."]


def fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def mixed(tmp_path: Path, records: list[dict], **entry: object) -> tuple[Path, Path]:
    """Mix one source without looking for anything; give the folders of the mix and of the source."""
    place = inspected(tmp_path / "a", "a", records)
    out = fresh(tmp_path / "mix")
    asked = {"duplicates": Duplicates(exact=None), "contamination": Contamination(action=None)}
    mix([(MixEntry(source="a", **entry), place)], 0, out, **asked)
    return out, place.records


def test_duplicates_are_told_of_the_records_that_are_mixed(tmp_path: Path) -> None:
    """Records 0, 1 and 3 say the same of the same pixels; a filter leaves 0 out, so 1 is the first."""
    picture = {"path": "0.jpg", "pixel_hash": "p"}
    records = [{"says": SAME, "images": [picture]} for _ in range(4)]
    records[2] = {"images": ["2.jpg"]}
    folder, source = mixed(tmp_path, records, filters=("index > 0",))
    result = overlap_itself(folder, [source], Duplicates(), fresh(tmp_path / "out"))
    assert result == OverlapResult(against="itself", num_records=1, num_pairs=1)
    (row,) = pq.read_table(tmp_path / "out" / "duplicates.parquet").to_pylist()
    assert (row["record_id"], row["first_record_id"], row["dropped"]) == ("a-00000003", "a-00000001", False)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["duplicates.parquet"]


def test_a_benchmarks_pictures_are_told_of_the_records_that_are_mixed(tmp_path: Path) -> None:
    """0.jpg and 1.jpg are the benchmark's, as bytes; record 0 is filtered out. Record 2 shows 1.jpg, and twice: two pairs, no more."""
    records = [{"images": ["0.jpg"]}, {"images": ["1.jpg"]}, {"images": ["1.jpg"]}, {"images": []}]
    folder, source = mixed(tmp_path, records, filters=("index > 0",), share=2.0)
    write_images(fresh(tmp_path / "benchmark"), "quiz", ["0.jpg", "1.jpg"])
    benchmarks, asked = [tmp_path / "benchmark"], Contamination()
    result = overlap_benchmarks(folder, [source], asked, benchmarks, fresh(tmp_path / "out"))
    assert result == OverlapResult(against="benchmarks", num_records=2, num_pairs=2)
    rows = pq.read_table(tmp_path / "out" / "contamination.parquet").to_pylist()
    assert [(row["record_id"], row["benchmark_image"], row["how"], row["dropped"]) for row in rows] == [
        ("a-00000001", "1.jpg", "bytes", False),
        ("a-00000002", "1.jpg", "bytes", False),
    ]


def test_what_drops_is_the_mixs_and_what_reports_is_the_overlaps() -> None:
    nothing, exact = Duplicates(exact=None), Duplicates(exact="drop")
    both = Duplicates(exact="drop", near="report", max_distance=5, within="source")
    assert (Duplicates().dropping, Duplicates().reporting) == (nothing, Duplicates())
    assert (exact.dropping, exact.reporting) == (exact, nothing)
    assert (nothing.dropping, nothing.reporting) == (nothing, nothing)
    assert both.dropping == Duplicates(exact="drop", within="source")
    assert both.reporting == Duplicates(exact="report", near="report", max_distance=5, within="source")
    all_dropped = Duplicates(exact="drop", near="drop", max_distance=5)
    assert (all_dropped.dropping, all_dropped.reporting) == (all_dropped, nothing)
