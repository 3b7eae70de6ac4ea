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
        "component": "charts", "records": "2", "turns": "6", "characters": "10", "tokens": "",
        "duplicates": "0", "pictures": "3", "distinct": "2",
        "size": "30 bytes", "median w x h": "100 x 50", "longest aspect": "5.0", "text only": "0", "mended": "1",
        "noted": "0", "dropped": "2 no_turns",
    }  # fmt: skip
    assert (lost["component"], lost["records"], lost["dropped"]) == ("lost", "0", "1 malformed")
    assert (text["pictures"], text["median w x h"], text["text only"], text["noted"]) == ("0", "", "1", "1")


def test_a_new_revision_tells_what_it_adds_drops_and_changes(source, tmp_path, capsys):
    changed = RECORDS[0] | {"says": ["q", "abd"]}
    new = {"says": ["new", "one"], "images": [], "original_id": "9", "component": "new"}
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
        components={"charts": (0, 0, 1, 1), "new": (0, 1, 0, 0), "text": (1, 1, 0, 0)},
    )
    charts, _, text, whole = told(capsys, "diff", str(source), str(after))
    assert charts == {
        "component": "charts",
        "same": "0",
        "added": "0",
        "removed": "1",
        "changed": "1",
        "for example": "",
    }
    assert (text["same"], text["added"]) == ("1", "1")
    assert (whole["component"], whole["same"], whole["added"]) == ("all", "1", "2")
    assert whole["for example"] == "+ mine-00000001, + mine-00000003, - mine-00000001, ~ mine-00000000"
    assert compare(source, source).same == 3


def test_duplicates_are_counted_where_they_stand_and_tokens_by_a_tokenizer(tmp_path, capsys):
    """Twice the same words of the same bytes, in two components; the same words of another picture are no duplicate."""
    same = {"says": ["ab", "c"], "images": PICTURES[:1]}
    records = [
        same | {"component": "a"},
        same | {"component": "b"},
        {"says": ["ab", "c"], "images": PICTURES[1:], "component": "c"},
    ]
    source = inspected(tmp_path / "one", "mine", records).records
    write(source / "dropped.parquet", DROPPED_SCHEMA, [])
    words = ("stats", str(source), "--tokenizer", str(letters(tmp_path / "letters")))
    assert [(row["component"], row["duplicates"], row["tokens"]) for row in told(capsys, *words)] == [
        ("a", "0", "3"), ("b", "1", "3"), ("c", "0", "3"),
    ]  # fmt: skip


def test_the_page_has_every_number_and_no_markup_of_the_datas(source, tmp_path, capsys):
    page = tmp_path / "pages" / "mine.html"
    assert cli.main(["data", "stats", str(source), "--out", str(page)]) == 0
    text = page.read_text()
    for wanted in ("<td>charts</td>", "<td>2 no_turns</td>", "100 x 50", "66.7 %", "3 records in 3 components"):
        assert wanted in text
    assert cli.main(["data", "stats", str(source), "--out", "page.pdf"]) == 2
    assert "expected the name of a page" in capsys.readouterr().err


def letters(folder):
    """Write a tokenizer that makes a token of each letter."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocabulary = {"<unk>": 0, "</s>": 1, **{letter: place for place, letter in enumerate("abcdefg ", start=2)}}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    return folder


def test_a_source_that_was_not_inspected_says_what_to_do(tmp_path, capsys):
    assert cli.main(["data", "stats", "toy-chat", "--workspace", str(tmp_path)]) == 2
    assert "'toy-chat' was not inspected in workspace" in capsys.readouterr().err
