"""Some of the faults of `make torture`, with real stages: a disk that is full, and all that may be odd around a run at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.torture.faults import around, table
from benchmarks.torture.faults import place as places


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[places.Place]:
    with places.prepared(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("fault", [table.FAULTS["disk of 400k"], around.all_that_is_odd_at_once])
def test_a_fault_is_one_line_or_nothing_and_the_artifacts_are_the_same(place: places.Place, fault: table.Fault) -> None:
    try:
        assert fault(place).endswith("same")
    except places.Skipped as why:
        pytest.skip(str(why))


def test_every_fault_says_what_it_is() -> None:
    assert all(fault.__doc__ for fault in table.FAULTS.values())
    assert len(table.FAULTS) > 60
