"""What a recipe asks the lineage for, before a plan: records that are void, and numbers to sort by. The workspace is counted on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_workspace

from tasks.plan import sort_of, void_of
from tasks.run import Run
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load

BY_TOKENS = "SELECT record_id, sum(num_tokens) AS tokens FROM plans WHERE source = 'cats' GROUP BY record_id"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_workspace.make(tmp_path_factory.mktemp("workspace"))


def run(workspace: Path, **fields: object) -> Run:
    return Run(run_id="1", workspace=workspace, recipe=load("toy", {f"sft.{key}": fields[key] for key in fields}))


def test_void_records_are_those_that_a_query_gives(workspace: Path) -> None:
    asked = run(workspace, void="SELECT num_turns, record_id FROM records WHERE num_images = 0")
    assert void_of(asked, "sft").record_ids == {"talk-00000001"}
    assert not void_of(asked, "sft").all_there  # a query over a source may name records that a mix has not
    with pytest.raises(BadInput, match=r"sft\.void: .* gives columns source; expected one named record_id"):
        void_of(run(workspace, void="SELECT source FROM records"), "sft")
    with pytest.raises(BadInput, match="names no record"):
        void_of(run(workspace, void="SELECT record_id FROM records WHERE source = 'dogs'"), "sft")


def test_numbers_to_sort_by_are_those_that_a_query_gives(workspace: Path) -> None:
    found = sort_of(run(workspace, sort_by={"scores": BY_TOKENS, "column": "tokens", "first": "high"}), "sft")
    assert found is not None
    assert dict(zip(found.record_ids.to_pylist(), found.value_N.tolist(), strict=True)) == {
        f"cats-{number:08d}": -20.0 for number in range(3)
    }  # 10 tokens in either stage
    assert sort_of(run(workspace), "sft") is None


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("SELECT record_id FROM records", "no column 'tokens'; found record_id"),
        ("SELECT record_id, source AS tokens FROM records", "column 'tokens' is of type string; expected numbers"),
        ("SELECT record_id, num_tokens AS tokens FROM plans", "a record_id is there twice"),
        (BY_TOKENS.replace("cats", "dogs"), "gives no record"),
        ("SELECT NULL AS record_id, 1 AS tokens", "a record_id is NULL; leave such rows out"),
        ("SELECT ['a'] AS record_id, 1 AS tokens", r"column record_id is of type list<.*; expected text"),
        ("SELECT '\\xff'::BLOB AS record_id, 1 AS tokens", "column record_id is of type binary; expected text"),
        ("SELECT 'a' AS record_id, 1 AS tokens, 2 AS tokens", "column 'tokens' is there twice; keep one"),
        (
            "SELECT 'a' AS record_id, 2::HUGEINT ^ 100 AS tokens, 99999999999999999999::HUGEINT AS more",
            "gives what is no column of a table",
        ),
    ],
)
def test_a_query_that_sorts_nothing_is_one_line(workspace: Path, query: str, fault: str) -> None:
    with pytest.raises(BadInput, match=fault) as told:
        sort_of(run(workspace, sort_by={"scores": query, "column": "tokens"}), "sft")
    assert "\n" not in str(told.value)


def test_a_number_that_no_float_holds_exactly_sorts_all_the_same(workspace: Path) -> None:
    query = "SELECT 'a' AS record_id, 9007199254740993 AS tokens"
    found = sort_of(run(workspace, sort_by={"scores": query, "column": "tokens"}), "sft")
    assert found is not None
    assert found.value_N.tolist() == [9007199254740992.0]
