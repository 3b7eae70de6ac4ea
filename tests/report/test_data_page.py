"""The data page: what sources are like, what mixes are made of over time, and which pictures are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_run import MadeUp
from tiny import make_shards, png

from tinyllava_core.report.data.mixes import OTHER, alike, mixed_rows
from tinyllava_core.report.data.sources import scripts, source_rows
from tinyllava_core.report.data.write import write_data_page
from tinyllava_core.results import DownloadResult, InspectResult, MixResult, PlanResult, ShardResult


def blank(of: type, /, **known: object) -> object:
    """A result of zeros and nothings but for what is known."""
    return of(**{name: known.get(name, 0) for name in of.__dataclass_fields__})


def test_writing_systems_are_told_by_letters_alone():
    """8 Latin letters, 2 Chinese; digits and marks are no letters."""
    assert scripts(["Two cats!", "12, 34", "猫犬 a"]) == (("Latin", 80.0), ("Cjk", 20.0))
    assert scripts(["12"]) == ()


def mixed(folder: Path, components: list[str]) -> MixResult:
    pq.write_table(
        pa.table({"position": list(range(len(components))), "component": components}), folder / "mix.parquet"
    )
    return blank(MixResult)


def planned(folder: Path, step: list[int], position: list[int], tokens: list[int]) -> PlanResult:
    pq.write_table(pa.table({"step": step, "position": position, "num_tokens": tokens}), folder / "plan.parquet")
    return blank(PlanResult)


def test_a_mix_is_told_step_by_step_in_tokens(tmp_path: Path):
    """Step 0: a 30, b 10. Step 1: b 40, which is position 3. In all a 30 of 80, b 50."""
    run = MadeUp(tmp_path)
    run.make("mix", "sft", {}, lambda to: mixed(to, ["a", "b", "a", "b"]))
    run.make("plan", "sft", {}, lambda to: planned(to, [0, 0, 1], [0, 1, 3], [30, 10, 40]))
    (row,) = mixed_rows(run.facts())
    assert (row.names, row.edges) == (("b", "a"), (0.0, 1.0, 2.0))
    assert row.shares == ((25.0, 100.0), (75.0, 0.0))
    assert row.totals == (62.5, 37.5)


def test_what_has_no_colour_of_its_own_is_one(tmp_path: Path):
    """Ten components with 10, 9, ... 1 tokens: seven keep their name; 3 + 2 + 1 of 55 are the others."""
    run = MadeUp(tmp_path)
    run.make("mix", "sft", {}, lambda to: mixed(to, [f"c{n}" for n in range(10)]))
    run.make("plan", "sft", {}, lambda to: planned(to, [0] * 10, list(range(10)), list(range(10, 0, -1))))
    (row,) = mixed_rows(run.facts())
    assert row.names == (*(f"c{n}" for n in range(7)), OTHER)
    assert row.totals[-1] == pytest.approx(100 * 6 / 55)


@pytest.fixture
def run(tmp_path: Path) -> MadeUp:
    """Two records with pictures, the second found to be a duplicate of the first; one source, inspected."""
    run = MadeUp(tmp_path)

    def shards(folder: Path) -> ShardResult:
        make_shards(
            folder / "made", [([("user", "<image>\nWhat?"), ("assistant", "A cat.")], [png(n)]) for n in (1, 2)]
        )
        for file in (folder / "made").iterdir():
            file.rename(folder / file.name)
        return blank(ShardResult)

    def inspected(folder: Path) -> InspectResult:
        turns = [{"role": "user", "text": "Was?"}]
        records = [
            {"component": part, "num_turns": 2, "num_chars": 12, "repairs": ["bom"], "notes": [], "turns": turns}
            for part in ("coco", "coco", "gqa")
        ]
        pq.write_table(pa.Table.from_pylist(records), folder / "records.parquet")
        images = [
            {"width": 1000, "height": 500, "format": "JPEG", "reason": None},
            {"width": None, "height": None, "format": None, "reason": "image is missing"},
        ]
        pq.write_table(pa.Table.from_pylist(images), folder / "images.parquet")
        return blank(InspectResult, num_good=3, num_records=3)

    run.make("download", "cats", {}, lambda to: blank(DownloadResult, kind="source", licence="CC0"))
    run.make("inspect", "cats", {}, inspected)
    run.make("mix", "sft", {}, lambda to: mixed(to, ["coco", "gqa"]))
    made = run.make("shard", "sft", {}, shards)
    ids = pq.read_table(made.folder / "index.parquet")["record_id"].to_pylist()

    def overlap(folder: Path) -> MixResult:
        pair = {
            "record_id": ids[1],
            "first_record_id": ids[0],
            "source": "cats",
            "how": "text",
            "distance": None,
            "dropped": False,
        }
        pq.write_table(pa.Table.from_pylist([pair]), folder / "duplicates.parquet")
        return blank(MixResult)

    run.make("overlap", "sft", {}, overlap)
    return run


def test_a_source_is_counted_by_its_good_records_and_pictures(run: MadeUp):
    (row,) = source_rows(run.facts())
    assert (row.components, row.mended, row.licence) == ((("coco", 2), ("gqa", 1)), (("bom", 3),), "CC0")
    assert np.array_equal(row.megapixels, [0.5])
    assert np.array_equal(row.aspects, [2.0])
    assert row.formats == (("JPEG", 1),)


def test_records_that_say_the_same_stand_side_by_side_with_their_pictures(run: MadeUp):
    (pair,) = alike(run.facts())
    assert (pair.stage, pair.how) == ("sft", "text")
    assert (pair.first or b"")[:2] == (pair.second or b"")[:2] == b"\xff\xd8"  # JPEG
    assert pair.first != pair.second


def test_the_page_is_written_and_needs_nothing_else(run: MadeUp, tmp_path: Path):
    page = write_data_page(run.facts(), tmp_path, back="report.html").read_text()
    assert "says the same" in page
    assert "CC0" in page
    assert page.count("data:image/jpeg") == 2
    assert "http" not in page
    empty = MadeUp(tmp_path / "empty").facts()
    assert "Nothing was mixed yet" in write_data_page(empty, tmp_path).read_text()
