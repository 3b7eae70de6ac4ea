"""One of the faults of `make torture`, with real stages: a disk that is full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.torture import faults


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[faults.Place]:
    with faults.prepared(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("fault", ["disk of 400k"])
def test_a_fault_is_one_line_or_nothing_and_the_artifacts_are_the_same(place: faults.Place, fault: str) -> None:
    try:
        assert faults.FAULTS[fault](place).endswith("same")
    except faults.Skipped as why:
        pytest.skip(str(why))


def test_every_fault_says_what_it_is() -> None:
    assert all(fault.__doc__ for fault in faults.FAULTS.values())
    assert len(faults.FAULTS) > 25
