"""The short form of `make torture`: the same cases from seed 0 on, some of each kind."""

from __future__ import annotations

import pytest

from benchmarks.torture import __main__ as torture
from tinyllava_core.errors import BadInput


@pytest.mark.parametrize("kind", list(torture.KINDS))
@pytest.mark.filterwarnings("ignore")
def test_nothing_goes_wrong_in_the_first_cases(kind):
    found = torture.torture(kind, iter(range(60)), seconds=60)
    assert found.wrong == []
    assert found.cases > 20
    assert len(found.outcomes) > 1  # else the mutations change nothing


def test_a_case_is_a_function_of_its_seed():
    once, again = (torture.torture("pictures", iter(range(20)), seconds=60).outcomes for _ in range(2))
    assert once == again


def test_a_reader_that_breaks_its_promise_is_told_with_its_seed(monkeypatch):
    monkeypatch.setitem(torture.KINDS, "manifests", lambda chance: 1 / 0)
    found = torture.torture("manifests", iter([4]), seconds=60)
    assert found.wrong == [(4, "ZeroDivisionError: division by zero")]


def test_a_strangers_value_makes_no_error_longer_than_a_page():
    told = str(BadInput(f"a.csv, row 3: name = {'y' * 140_000!r}: expected a file name"))
    assert told.startswith("a.csv, row 3: name = 'yyy")
    assert told.endswith("yyy': expected a file name")
    assert len(told) < 2000
    assert str(BadInput("short")) == "short"


def test_a_strangers_value_makes_no_second_line_and_moves_no_cursor():
    told = str(BadInput("a.zip: member '../\x1b[2Ja\nerror: all is well\u202e' \ud800 leads out: é, 日本"))
    assert told == r"a.zip: member '../\x1b[2Ja\nerror: all is well\u202e' \ud800 leads out: é, 日本"
