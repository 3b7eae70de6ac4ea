"""A plan in the order of a column: by hand, ties and records without a number included; nothing of it where it is not asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import make_shards, png

from tinyllava_core.data.plan.again import smaller_plan, voided_plan
from tinyllava_core.data.plan.plan import plan, plan_spec
from tinyllava_core.data.plan.sort import Sort, read_sort
from tinyllava_core.data.plan.void import of_ids
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load
from tinyllava_core.settings.training import SortBy

VALUES = [3.0, None, 1.0, 2.0, 1.0, 0.0]  # of six records in steps of two
IDS = [f"tiny-{number:08d}" for number in range(6)]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    table = {"record_id": [*IDS[::-1], "elsewhere-00000000"], "loss": [*VALUES[::-1], -9.0]}
    pq.write_table(pa.table(table | {"script": ["latin"] * 7}), tmp_path / "scores.parquet")
    return tmp_path / "scores.parquet"


def planned(home: Path, sort: Sort | None, order: int = 0) -> list[list[int]]:
    """Plan six records -> the numbers of each step's."""
    shards, out = home / "shards", home / f"plan-{len(list(home.iterdir()))}"
    if not shards.is_dir():
        make_shards(shards, [([("user", "<image>\nIs it?"), ("assistant", "yes")], [png(n)]) for n in range(6)])
    recipe = load("toy", {"sft.global_batch": 2, "sft.max_length": 64, "sft.order": order})
    spec = plan_spec(recipe, "sft", sort=sort)
    assert ("sorted_sha256" in spec.model_dump(mode="json")) == (sort is not None)
    plan(shards, spec, out, sort=sort)
    (out / "result.json").write_text(json.dumps({"spec": spec.model_dump(mode="json")}))
    return steps(out)


def steps(out: Path) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for row in pq.read_table(out / "plan.parquet").to_pylist():
        found.setdefault(row["step"], []).append(int(row["record_id"][-1]))
    return [sorted(step) for step in found.values()]


def test_the_lowest_come_first_equal_ones_in_the_mixs_order_and_those_without_a_number_last(
    scores: Path, tmp_path: Path
) -> None:
    assert planned(tmp_path, read_sort(SortBy(scores=str(scores)), "sft")) == [[2, 5], [3, 4], [0, 1]]
    assert planned(tmp_path, read_sort(SortBy(scores=str(scores), first="high"), "sft")) == [[0, 3], [2, 4], [1, 5]]
    assert planned(tmp_path, None) == [[0, 1], [2, 3], [4, 5]]


def test_in_parts_the_records_of_one_part_are_in_the_mixs_order(scores: Path, tmp_path: Path) -> None:
    halves = {"scores": str(scores), "parts": 2}  # of the table's six numbers: -9 0 1 1 | 2 3
    assert planned(tmp_path, read_sort(SortBy(**halves), "sft")) == [[2, 4], [0, 5], [1, 3]]
    assert planned(tmp_path, read_sort(SortBy(**halves, first="high"), "sft")) == [
        [0, 2],
        [3, 4],
        [1, 5],
    ]  # 3 2 1 1 | 0 -9


def test_a_folder_of_tables_is_one_table(scores: Path, tmp_path: Path) -> None:
    whole = read_sort(SortBy(scores=str(scores)), "sft")
    (folder := tmp_path / "of-sources").mkdir()
    for name, first, count in (("a", 0, 3), ("b", 3, 4)):
        pq.write_table(pq.read_table(scores).slice(first, count), folder / f"{name}.parquet")
    apart = read_sort(SortBy(scores=str(folder)), "sft")
    assert whole is not None
    assert apart is not None
    assert apart.sha256 == whole.sha256


def test_equal_records_are_in_the_order_that_the_recipe_asks_for(tmp_path: Path) -> None:
    alike = Sort(record_ids=pa.array(IDS), value_N=np.ones(6), named_in="")
    assert planned(tmp_path, alike, order=1) == planned(tmp_path, None, order=1) != planned(tmp_path, None)


def test_some_of_a_sorted_plans_records_keep_its_order(scores: Path, tmp_path: Path) -> None:
    planned(tmp_path, read_sort(SortBy(scores=str(scores)), "sft"))
    (whole,) = tmp_path.glob("plan-*")
    (out := tmp_path / "smaller").mkdir()
    smaller_plan(whole, [IDS[0], IDS[1], IDS[3], IDS[5]], out)
    assert steps(out) == [[3, 5], [0, 1]]


def test_the_same_numbers_have_one_name_and_others_another(scores: Path) -> None:
    first = read_sort(SortBy(scores=str(scores)), "sft")
    turned = pq.read_table(scores).take([6, 5, 4, 3, 2, 1, 0])
    pq.write_table(turned, scores)
    again = read_sort(SortBy(scores=str(scores)), "sft")
    other = read_sort(SortBy(scores=str(scores), first="high"), "sft")
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.sha256 == again.sha256 != other.sha256


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (
            {"column": "los"},
            r"sft\.sort_by: scores .*: no column 'los'; nearest: 'loss'; found record_id, loss, script",
        ),
        ({"column": "script"}, "column 'script' is of type string; expected numbers, to sort by"),
        ({"scores": "nowhere.parquet"}, "sft.sort_by: scores 'nowhere.parquet': not a readable Parquet file"),
    ],
)
def test_a_table_that_sorts_nothing_is_one_line(scores: Path, asked: dict, fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        read_sort(SortBy(**{"scores": str(scores), **asked}), "sft")


def test_numbers_of_other_records_alone_are_refused() -> None:
    elsewhere = Sort(record_ids=pa.array(["b"]), value_N=np.ones(1), named_in="mine.parquet")
    with pytest.raises(BadInput, match=r"sort_by \(mine.parquet\): names no record of this mix"):
        elsewhere.of(pa.chunked_array([["a"]]))


def test_of_a_plan_with_void_records_more_are_voided_or_some_planned_alone(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    planned(tmp_path, None)
    spec, first = plan_spec(load("toy", {"sft.global_batch": 2, "sft.max_length": 64}), "sft"), tmp_path / "first"
    plan(shards, spec, first, void=of_ids([IDS[1]], "test"))
    (first / "result.json").write_text(json.dumps({"spec": spec.model_dump(mode="json")}))
    for name in ("more", "fewer"):
        (tmp_path / name).mkdir()
    voided_plan(first, [IDS[4]], tmp_path / "more")
    smaller_plan(first, IDS[:3], tmp_path / "fewer")
    for name, void in (("more", {IDS[1], IDS[4]}), ("fewer", {IDS[1]})):
        rows = pq.read_table(tmp_path / name / "plan.parquet").to_pylist()
        assert {row["record_id"] for row in rows if row["void"]} == void
        assert {row["record_id"] for row in rows if row["num_supervised"] == 0} == void
