"""Scores by int8 products: the same records at the ends of each ranking as float64 gives, with float64's numbers."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tinyllava_core.attribute import narrow
from tinyllava_core.attribute.store import write
from tinyllava_core.why import ends, scores

ROWS, ANSWERS, SIZES = 4000, 4, {"head": 48, "layers": 80}


def store(count: int, parts: list[str], chance: np.random.Generator) -> pa.Table:
    """Draw int8 rows with a scale each, a few numbers of a row much larger than the others, as gradients have them."""
    table = pa.table({"record_id": [f"r{place}" for place in range(count)], "source": ["x"] * count})
    for name in parts:
        rows = np.clip(np.round(chance.standard_t(3, (count, SIZES[name])) * 12), -127, 127).astype(np.int8)
        cells = pa.array([row.tobytes() for row in rows], pa.binary(SIZES[name]))
        table = table.append_column(f"{name}_scale", pa.array(chance.lognormal(size=count).astype(np.float32)))
        table = table.append_column(name, cells)
    return table


def in_float64(table: pa.Table, name: str) -> np.ndarray:
    rows = np.stack([np.frombuffer(cell, np.int8) for cell in table[name].to_pylist()]).astype(float)
    return rows * table[f"{name}_scale"].to_numpy().astype(float)[:, None]


@pytest.mark.parametrize("parts", [["head"], ["head", "layers"]])
@pytest.mark.parametrize("multiply", [narrow.in_int8, scores.in_float32])
def test_the_ends_of_each_ranking_are_those_of_float64(
    tmp_path: Path, parts: list[str], multiply: scores.Multiply
) -> None:
    chance = np.random.default_rng(5)
    records, questions = store(ROWS, parts, chance), store(ANSWERS, parts, chance)
    questions = questions.rename_columns(["question_id", "benchmark", *questions.column_names[2:]])
    kernel = chance.normal(size=(48, 48)).astype(np.float32)
    for number, first in enumerate((0, 2500)):
        write(records.slice(first, 2500), tmp_path / f"records-{number}.parquet")
    files = scores.files(tmp_path)
    found = ends.tails(scores.all_scores(files, questions, kernel, multiply), questions, kernel, files)

    whole, asked = (np.concatenate([in_float64(one, name) for name in parts], 1) for one in (records, questions))
    cosine = (asked / np.linalg.norm(asked, axis=1)[:, None]) @ (whole / np.linalg.norm(whole, axis=1)[:, None]).T
    by_kernel = in_float64(questions, "head") @ kernel @ in_float64(records, "head").T
    score = sum((one - one.mean(1, keepdims=True)) / one.std(1, keepdims=True) for one in (cosine, by_kernel)) / 2
    for number in range(ANSWERS):
        falling = np.argsort(-score[number], kind="stable")
        wanted = [*falling[: ends.TAIL], *falling[::-1][: ends.TAIL]]
        mine = found.slice(number * 2 * ends.TAIL, 2 * ends.TAIL)
        assert mine["record_id"].to_pylist() == [f"r{place}" for place in wanted]
        assert mine["rank"].to_pylist() == [*range(1, ends.TAIL + 1), *range(-1, -ends.TAIL - 1, -1)]
        np.testing.assert_allclose(mine["cosine"].to_numpy(), cosine[number][wanted], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(
            mine["kernel"].to_numpy(), by_kernel[number][wanted], rtol=1e-6, atol=1e-7 * np.abs(by_kernel).max()
        )
        np.testing.assert_allclose(mine["score"].to_numpy(), score[number][wanted], rtol=1e-4)


def test_the_ends_of_many_answers_in_a_small_store_are_taken_a_few_at_a_time(tmp_path: Path) -> None:
    chance = np.random.default_rng(6)
    write(store(600, ["head", "layers"], chance), tmp_path / "records-0.parquet")
    asked = scores.Asked.of(store(120, ["head", "layers"], chance), np.eye(48, dtype=np.float32))
    answer, place = (
        np.repeat(np.arange(120), 500),
        np.tile(np.arange(500), 120),
    )  # of all, 60,000 x 128 x 8 bytes: 61 MB
    tracemalloc.start()
    found = scores.exact(scores.files(tmp_path), asked, answer, place)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20e6
    some = slice(1000, 1500)
    for one, again in zip(found, scores.exact(scores.files(tmp_path), asked, answer[some], place[some]), strict=True):
        assert (one[some] == again).all()


@pytest.mark.parametrize("longest", [2048, 128])  # in one piece; in three
def test_a_product_of_int8_halves_is_off_by_half_a_step_a_number_at_most(
    monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(narrow, "_LONGEST", longest)
    chance = np.random.default_rng(0)
    left = chance.normal(size=(7, 300)).astype(np.float32)
    left[0], left[1, :] = 0, -3.5  # nothing; all at the largest
    small = chance.integers(-127, 128, (20, 300), dtype=np.int8)
    product = narrow.in_int8(left)
    for rows in (small, small[:5], -small):  # other blocks do not stand in each other's way
        exact = left.astype(float) @ rows.T.astype(float)
        most = np.abs(left).max(1)[:, None] / 16256 * np.abs(rows.astype(float)).sum(1)
        assert (np.abs(product(rows) - exact) <= most * 1.001 + 1e-6 * np.abs(exact)).all()


def test_the_longest_row_of_the_largest_numbers_does_not_leave_int32() -> None:
    found = narrow.in_int8(np.ones((1, 2048), np.float32))(np.full((1, 2048), -127, np.int8))
    np.testing.assert_allclose(found, -127 * 2048)


def test_where_int8_products_are_not_exact_float32_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturated(left: object, right: object, **_: object) -> object:
        return narrow.torch.full((32, 32), -(2**15), dtype=narrow.torch.int32)

    with monkeypatch.context() as patch:
        patch.setattr(narrow.torch, "_int_mm", saturated)
        assert narrow.multiply.__wrapped__() is scores.in_float32
    monkeypatch.delattr(narrow.torch.cpu, "_is_vnni_supported")
    assert narrow.multiply.__wrapped__() is scores.in_float32
