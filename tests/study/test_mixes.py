"""Mixes by hand: counted out, drawn the same each time, and what trainings of them show. Nothing is trained."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.study import searched
from tinyllava_core.study.grid import Study
from tinyllava_core.study.mixes import Group, Mix, MixSearch, counted, groups_of, mixes_of, records_of, shapley
from tinyllava_core.why.outcome import Value, value_of

GROUPS = [Group(name=name, records=tuple(f"{name}-{n}" for n in range(4))) for name in "abc"]


def of(search: dict | None = None) -> MixSearch:
    return MixSearch.model_validate({"records": 6, **(search or {})})


def value(log: float, right: float = 0.5) -> Value:
    return Value(log_probability=log, right=right)


def test_shares_become_whole_records_and_what_a_group_has_not_goes_to_the_others() -> None:
    assert counted([1, 1, 1], [4, 4, 4], 6) == (2, 2, 2)
    assert counted([0.5, 0.3, 0.2], [10, 10, 10], 9) == (4, 3, 2)  # 4.5, 2.7, 1.8: the largest remainders are taken up
    assert counted([0.9, 0.06, 0.04], [4, 4, 4], 9) == (4, 3, 2)  # 4 of a; 5 left, as 3 to 2
    assert counted([0, 0, 1], [4, 4, 4], 6) == (1, 1, 4)  # b and c have no share: alike
    assert counted([1, 0, 0], [4, 4, 4], 12) == (4, 4, 4)


def test_every_mix_has_as_many_records_and_a_larger_share_only_adds() -> None:
    search = of({"draws": 40, "shapley": ["a", "c"]})
    mixes = mixes_of(search, GROUPS)
    assert mixes == mixes_of(search, GROUPS)
    trained = [mix for mix in mixes if mix.kind in ("as it is", "even", "drawn")]
    assert {sum(mix.counts) for mix in trained} == {6}
    assert len({mix.counts for mix in trained}) == len(trained)  # even as they are, and no two drawn alike
    assert all(len(records_of(mix, GROUPS)) == 6 for mix in trained)
    less, more = (records_of(Mix(name="", kind="drawn", counts=counts), GROUPS) for counts in ((1, 0, 0), (3, 0, 0)))
    assert less < more
    assert [mix.name for mix in mixes if mix not in trained] == ["start", "a", "c", "a + c"]
    assert mixes[-1].shares == (0.5, 0, 0.5)
    assert mixes[-4].shares == (0, 0, 0)


def plan_and_mix(home: Path) -> tuple[Path, Path]:
    ids = [f"r{n}" for n in range(6)]
    sources, components = ["x"] * 4 + ["y"] * 2, ["p", "p", "q", None, None, None]
    pq.write_table(pa.table({"record_id": ids, "source": sources, "component": components}), home / "mix.parquet")
    pq.write_table(pa.table({"record_id": [*ids, "r0"]}), home / "plan.parquet")  # one of two epochs
    return home, home


def test_a_group_is_a_source_or_a_component(tmp_path: Path) -> None:
    found = groups_of(*plan_and_mix(tmp_path), of())
    assert {group.name: sorted(group.records) for group in found} == {"x": ["r0", "r1", "r2", "r3"], "y": ["r4", "r5"]}
    found = groups_of(*plan_and_mix(tmp_path), of({"by": "component"}))
    assert {group.name: len(group.records) for group in found} == {"p": 2, "q": 1, "x": 1, "y": 2}


def test_a_void_record_is_in_no_mix(tmp_path: Path) -> None:
    plan, mixed = plan_and_mix(tmp_path)
    table = pq.read_table(plan / "plan.parquet")
    pq.write_table(
        table.append_column("void", pa.array([False, True, False, False, False, False, False])), plan / "plan.parquet"
    )
    found = groups_of(plan, mixed, of({"records": 5}))
    assert sorted(found[0].records) == ["r0", "r2", "r3"]
    with pytest.raises(BadInput, match=r"mixes\.records 6: the plan has 5 records"):
        groups_of(plan, mixed, of())


@pytest.mark.parametrize(
    ("search", "fault"),
    [
        ({"records": 7}, "mixes.records 7: the plan has 6 records; give at most so many"),
        ({"shapley": ["z"]}, "mixes.shapley: no group 'z'.*there are x, y"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(search: dict, fault: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=fault):
        groups_of(*plan_and_mix(tmp_path), of(search))


def test_a_study_searches_one_recipe_in_three_orders_or_more() -> None:
    told = {"name": "mine", "recipe": "toy", "mixes": {"records": 6}}
    assert Study.parse({**told, "orders": [0, 1, 2]}, "mine").searching.records == 6
    with pytest.raises(BadInput, match=r"one order of the records decides as much as a mix; give orders: \[0, 1, 2\]"):
        Study.parse({**told, "orders": [0, 1]}, "mine")
    with pytest.raises(BadInput, match="mixes are searched for one recipe"):
        Study.parse({**told, "orders": [0, 1, 2], "leave_out": ["toy-chat"]}, "mine")
    with pytest.raises(BadInput, match="has no section mixes, so there is none to search"):
        _ = Study.parse({"name": "mine", "recipe": "toy", "orders": [0, 1]}, "mine").searching


def test_shapley_values_are_the_mean_over_the_orders_of_joining() -> None:
    """By hand: a joins nobody (+1), b (4 - 2), c (3 - 3), or both (6 - 4); weights 1/3, 1/6, 1/6, 1/3."""
    value = {"": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "ac": 3, "bc": 4, "abc": 6}
    found = shapley("abc", {frozenset(name): float(worth) for name, worth in value.items()})
    assert found["a"] == pytest.approx(1 / 3 + 2 / 6 + 0 / 6 + 2 / 3)
    assert sum(found.values()) == pytest.approx(6)


def test_a_gain_is_shown_only_beyond_the_orders_noise() -> None:
    """Three a side, sd 0.1 each: error 0.0816, 4 degrees of freedom, t = 2.776 (table): half 0.2267. Two comparisons: t = 3.495."""
    base = [-1.0, -1.1, -0.9]
    small, large = ([one + step for one in base] for step in (0.2, 0.3))
    one = searched.gain(base, small, 1)
    assert (one.mean, one.high - one.mean) == (pytest.approx(0.2), pytest.approx(2.776 * math.sqrt(0.02 / 3), rel=1e-3))
    two = searched.gain(base, large, 2)
    assert two.mean - two.low == pytest.approx(3.495 * math.sqrt(0.02 / 3), rel=1e-3)
    assert [searched.gain(base, side, 1).verdict for side in (small, large, [one - 0.3 for one in base])] == [
        "not shown",
        "shown",
        "shown to be worse",
    ]


def of_mixes(step: float) -> list[searched.Searched]:
    """Five drawn mixes, trained once but for the best; the merges have two of the four others the wrong way round."""
    mixes = [Mix(name="as it is", kind="as it is", counts=(2, 2, 2))]
    mixes += [Mix(name=f"drawn {n}", kind="drawn", counts=(n, 4 - n, 2)) for n in range(5)]
    merged = [value(-2.0), value(-1.9), value(-1.8), value(-1.7), value(-1.6), value(-1.0)]
    best = searched.best_of(mixes, merged, 1)
    assert best == [5]
    trained = {0: [value(-1.0), value(-1.1), value(-0.9)], 5: [value(-1.0 + step + n / 10) for n in (0, -1, 1)]}
    trained |= {place: [value(log)] for place, log in zip(range(1, 5), (-1.5, -1.6, -1.4, -1.3), strict=True)}
    return searched.searched(mixes, merged, trained, best)


def test_merges_are_held_against_drawn_mixes_whatever_they_foretold() -> None:
    """Ranks 1 2 3 4 against 2 1 3 4: rho = 1 - 6 x 2 / (4 x 15) = 0.8. The best, chosen by its merge, is none of them."""
    told = searched.foretold(of_mixes(0.5), 4)
    assert told is not None
    assert (told.count, told.rank) == (4, pytest.approx(0.8))
    variance = 0.05 / 3  # of -1.5 -1.6 -1.4 -1.3 around -1.45
    assert told.reached == pytest.approx(math.sqrt(1 - 0.01 / variance))
    assert -1 <= told.by_ridge <= 1  # tests/study/test_regressed.py has what it is
    assert searched.foretold(of_mixes(0.5), 2) is None


@pytest.mark.parametrize(("step", "said"), [(0.05, "not shown to be better"), (0.5, "shown to be better")])
def test_the_page_says_what_was_shown_and_how_far_merges_hold(step: float, said: str) -> None:
    found = of_mixes(step)
    lines = searched.page(found, GROUPS, {"a": 0.5}, searched.foretold(found, 4), 3).splitlines()
    assert lines[2].startswith("| as it is | -2.000 | -1.000 (sd 0.100) | 3 |")
    assert f"drawn 4 (a 4, b 0, c 2): {said} than the mix as it is, over 3 orders." in lines
    assert any(
        "against 4 drawn mixes, trained in one order each: Spearman 0.80; about 0.63 can be reached" in line
        for line in lines
    )
    assert any("which no training has checked: a +0.500" in line for line in lines)
    assert "unchecked" in searched.page(found, GROUPS, {}, None, 3)
    rows = searched.rows_of(found, GROUPS, {"a": 0.5})
    assert (rows[5]["gain_verdict"], rows[5]["num_orders"], rows[1]["num_orders"], rows[-1]["kind"]) == (
        said.removesuffix(" to be better"),
        3,
        1,
        "shapley",
    )
    assert "gain_mean" not in rows[1]  # one order shows nothing


def test_a_value_is_the_mean_over_benchmarks_however_many_questions_each_has() -> None:
    table = pa.table(
        {
            "benchmark": ["pope", "vqa", "vqa", "vqa"],
            "loss": pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()),
            "greedy": [True, False, False, True],
        }
    )
    assert value_of(table) == Value(log_probability=-(1 + 3) / 2, right=pytest.approx((1 + 1 / 3) / 2))
