"""What `tinyllava data stats` and `data diff` say of sources, counted by hand."""

from __future__ import annotations

import csv
import io

import pytest
from inspected import inspected, write

from tinyllava_core import cli
from tinyllava_core.data.inspect.changes import Changes, compare
from tinyllava_core.data.inspect.tables import DROPPED_SCHEMA

PICTURES = [
    {"path": "a.jpg", "sha256": "aa" * 32, "width": 100, "height": 50, "size_bytes": 10},
    {"path": "b.jpg", "sha256": "bb" * 32, "width": 300, "height": 60, "size_bytes": 20},
]
RECORDS = [
    {"says": ["q", "abc"], "images": PICTURES[:1], "component": "charts", "repairs": ["tag_added"]},
    {"says": ["q", "abc", "r", "d"], "images": PICTURES, "component": "charts"},
    {"says": ["q", "a"], "images": [], "component": "text", "notes": ["control_characters"]},
]


@pytest.fixture
def source(tmp_path):
    found = inspected(tmp_path / "one", "mine", RECORDS)
    bad = [{"component": "charts", "reason": "no_turns"}] * 2 + [{"component": "lost", "reason": "malformed"}]
    write(found.records / "dropped.parquet", DROPPED_SCHEMA, bad)
    return found.records


def told(capsys, *words):
    assert cli.main(["data", *words, "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_stats_count_each_component(source, capsys):
    charts, lost, text = told(capsys, "stats", str(source))
    assert charts == {
        "component": "charts", "records": "2", "turns": "6", "characters": "10", "pictures": "3", "distinct": "2",
        "size": "30 bytes", "median w x h": "100 x 50", "longest aspect": "5.0", "text only": "0", "mended": "1",
        "noted": "0", "dropped": "2 no_turns",
    }  # fmt: skip
    assert (lost["component"], lost["records"], lost["dropped"]) == ("lost", "0", "1 malformed")
    assert (text["pictures"], text["median w x h"], text["text only"], text["noted"]) == ("0", "", "1", "1")


def test_a_new_revision_tells_what_it_adds_drops_and_changes(source, tmp_path, capsys):
    changed = RECORDS[0] | {"says": ["q", "abd"]}
    new = {"says": ["new", "one"], "images": [], "original_id": "9"}
    twice = RECORDS[2] | {"original_id": "2"}
    after = inspected(tmp_path / "two", "mine", [changed, new, twice, twice]).records
    assert compare(source, after) == Changes(
        same=1,
        added=2,
        removed=1,
        changed=1,
        some_added=("mine-00000001", "mine-00000003"),
        some_removed=("mine-00000001",),
        some_changed=("mine-00000000",),
    )
    assert {row["records"]: row["number"] for row in told(capsys, "diff", str(source), str(after))} == {
        "same": "1", "added": "2", "removed": "1", "changed": "1",
    }  # fmt: skip
    assert compare(source, source).same == 3


def test_a_source_that_was_not_inspected_says_what_to_do(tmp_path, capsys):
    assert cli.main(["data", "stats", "toy-chat", "--workspace", str(tmp_path)]) == 2
    assert "'toy-chat' was not inspected in workspace" in capsys.readouterr().err
