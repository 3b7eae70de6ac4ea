"""A last loss is of what came last: a study says where that is not what the whole has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.study.test_table import finished
from tinyllava_core.study.ends import told, uneven


def plan(folder: Path, sources: str) -> Path:
    """A plan of ten records a step, whose rows lie in another order than they train in."""
    steps = [place // 10 for place in range(len(sources))]
    table = pa.table({"step": steps[::-1], "source": list(sources)[::-1]})
    pq.write_table(table, folder / "plan.parquet")
    return folder


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("ab" * 500, ""),
        ("a" * 500 + "b" * 500, "a 0 % there, 50 % of the whole"),
        ("ab" * 450 + "b" * 100, "a 0 % there, 45 % of the whole"),
        ("ab" * 450 + "ab" * 22 + "b" * 56, "a 22 % there, 47 % of the whole"),
        ("ab" * 450 + "ab" * 44 + "b" * 12, ""),  # 44 of 100 where 49.4 were fair: half of the ten points
        ("ab" * 9 + "bb", ""),  # none of two is far, and by chance
        ("a" * 100, ""),
    ],
)
def test_the_last_tenth_is_held_against_the_whole(tmp_path: Path, sources: str, said: str) -> None:
    assert uneven(plan(tmp_path, sources)) == said


def test_the_table_warns_of_the_variants_whose_end_is_another(tmp_path: Path) -> None:
    even, odd = finished("even", 1, 80), dataclasses.replace(finished("odd", 1, 80), uneven_end="b 99 % there")
    assert told([even]) == ""
    assert told([even, odd]).endswith("has its sources as the whole has them (odd: b 99 % there).")
