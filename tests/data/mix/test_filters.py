"""Filters: what they see of a record, what they leave out and why, and what they may not be."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inspected import inspected

from tinyllava_core.data.mix.filters import FUNCTIONS, OPERATORS, read_filters
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.mix.tables import add_view, connect, described_columns
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.mix import MixEntry

DOCS = Path(__file__).parents[3] / "docs" / "mix.md"
RECORDS = [
    {
        "says": ["<image>\nHow many?", "two"],
        "images": [{"path": "coco/1.jpg", "width": 640, "height": 480}],
        "component": "vqa",
    },
    {"says": ["<image>\nHow many?", "2", "Sure?", "Yes"], "images": [{"path": "vg/2.jpg", "width": 30, "height": 90}]},
    {
        "says": ["Hello", "Good day"],
        "images": [],
        "scores": [{"name": "relevance", "of_record": 3, "of_answers": [3]}],
        "subset": "chartqa",
    },
    {
        "says": ["<image>\n<image>\nWhich?", "the first"],
        "images": [{"path": "a.jpg", "width": 500, "height": 100}, {"path": "b.jpg", "width": 200, "height": 400}],
        "repairs": ["tag_added"],
        "scores": [{"name": "relevance", "of_record": 4, "of_answers": [4]}],
    },
]


def kept(tmp_path: Path, *filters: str, scores: str | None = None) -> list[int]:
    """Mix the records above, and say which are left."""
    source = inspected(tmp_path / "inspected", "s", RECORDS)
    out = tmp_path / "out"
    out.mkdir()
    mix([(MixEntry(source="s", filters=filters, scores=scores), source)], 0, out)
    return sorted(int(record_id[-8:]) for record_id in pq.read_table(out / "mix.parquet")["record_id"].to_pylist())


def left_out(tmp_path: Path) -> list[tuple[int, str, str]]:
    rows = pq.read_table(tmp_path / "out" / "left_out.parquet").to_pylist()
    return [(int(row["record_id"][-8:]), row["rule"], row["value"]) for row in rows]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("num_turns <= 2", [0, 2, 3]),
        ("num_images = 0", [2]),
        ("component = 'vqa'", [0]),
        ("component IS NULL", [1, 2, 3]),
        ("question LIKE '%How many%'", [0, 1]),
        ("regexp_matches(answer, '^[0-9]+$')", [1]),
        ("length(answer) > 3", [2, 3]),
        ("image LIKE 'coco/%' OR num_images = 0", [0, 2]),
        ("min_side >= 100 OR num_images = 0", [0, 2, 3]),
        ("width >= 200", [0, 3]),  # the narrowest of 500 and 200
        ("height <= 100", [1, 3]),  # the lowest of 100 and 400
        ("max_side >= 500", [0, 3]),
        ("aspect < 3", [0]),  # 1.33, 3, and the worse of 5 and 2
        ("aspect = 5", [3]),
        ("list_contains(repairs, 'tag_added')", [3]),
        ("num_chars = 13", [2]),
        ("scores['relevance'] >= 4", [3]),  # 3 on record 2, none on 0 and 1
        ("subset = 'chartqa'", [2]),
        ("index % 2 = 0 AND NOT original_id = '2'", [0]),
        ("record_id IN ('s-00000001', 'x') AND source = 's'", [1]),
        ("CASE WHEN num_images > 0 THEN max_side ELSE 7 END BETWEEN 7 AND 90", [1, 2]),
        ("Num_Turns > 2 -- a remark", [1]),
    ],
)
def test_a_filter_sees_the_columns_of_a_record(tmp_path: Path, rule: str, expected: list[int]) -> None:
    assert kept(tmp_path, rule) == expected


def test_what_is_left_out_is_kept_with_the_first_rule_and_what_it_met(tmp_path: Path) -> None:
    """NULL is not true: the text has no side."""
    assert kept(tmp_path, "num_turns <= 2", "min_side >= 200 AND aspect < 4") == [0]
    assert left_out(tmp_path) == [
        (1, "num_turns <= 2", "num_turns = 4"),
        (2, "min_side >= 200 AND aspect < 4", "min_side = NULL, aspect = NULL"),
        (3, "min_side >= 200 AND aspect < 4", "min_side = 100, aspect = 5.0"),
    ]


def test_a_table_of_scores_adds_columns(tmp_path: Path) -> None:
    """A record that it does not have has no score: NULL."""
    path = tmp_path / "scores [1].parquet"
    pq.write_table(pa.table({"record_id": ["s-00000000", "s-00000002"], "clip_score": [0.31, 0.2]}), path)
    assert kept(tmp_path, "clip_score > 0.25", scores=str(path)) == [0]
    assert [value for _, _, value in left_out(tmp_path)] == [
        "clip_score = NULL",
        "clip_score = 0.2",
        "clip_score = NULL",
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "clip": [1]}, "no column record_id; found id, clip"),
        ({"record_id": ["a"], "Width": [1]}, "column 'Width' is a record's own"),
        ({"record_id": ["a", "a"], "clip": [1, 2]}, "record_id 'a' is there twice"),
        ({"record_id": [["a"]], "clip": [1]}, r"column record_id is of type VARCHAR\[\]; expected text"),
        ({"record_id": ["a"], "c\0": [1]}, r"column 'c\\x00' is no name for SQL; give it another"),
    ],
)
def test_a_faulty_table_of_scores_is_named(tmp_path: Path, columns: dict, message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    entry = MixEntry(source="s", filters=("num_turns > 1",), scores=str(tmp_path / "scores.parquet"))
    with pytest.raises(BadInput, match=message):
        read_filters(entry)


def test_a_strangers_name_of_a_column_is_no_sql(tmp_path: Path) -> None:
    """It was pasted into CREATE TABLE as it stands."""
    name, path = 'x" INT); CREATE TABLE described (z INT); --', tmp_path / "scores.parquet"
    pq.write_table(pa.table({"record_id": ["s-00000000", "s-00000002"], name: [1, 5], "it's": [1, 1]}), path)
    quoted = name.replace('"', '""')
    assert kept(tmp_path, f'"{quoted}" < 3 AND "it\'s" = 1', scores=str(path)) == [0]
    assert f"{name} = 5, it's = 1" in [value for _, _, value in left_out(tmp_path)]


def test_a_table_of_scores_whose_pages_are_broken_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"record_id": [f"s-{number:08d}" for number in range(2000)], "clip": [1] * 2000}), path)
    path.write_bytes(path.read_bytes()[:60] + b"\xff" * 400 + path.read_bytes()[460:])
    entry = MixEntry(source="s", filters=("num_turns > 1",), scores=str(path))
    with pytest.raises(BadInput, match=r"scores .*: DuckDB cannot read it: ") as told:
        read_filters(entry)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("num_turn <= 2", "unknown column 'num_turn'; nearest: 'num_turns'. Known: record_id, source, component"),
        ("described.num_turns <= 2", "unknown column 'described.num_turns'"),
        ("num_turns", "it gives INTEGER, not true or false"),
        ("true", "it names no column"),
        ("num_turns >", "syntax error"),
        ("num_turns > 'many'", "Could not convert string 'many' to INT32"),
        ("regexp_matches(answer, '(')", "missing )"),
        ("length(num_turns, answer) = 1", "length"),
        ("num_turns > 2; DROP TABLE candidate", "syntax error"),
        ("true); DROP TABLE candidate; SELECT (true", "more than one condition|statement"),
        ("1) FROM read_csv('x') WHERE (1", "it is more than one condition"),
        ("num_turns > 1) LIMIT (1", "it is more than one condition"),
        ("num_turns > 1), (num_turns > 2", "it is more than one condition"),
        ("EXISTS (FROM read_text('/etc/hostname'))", "a subquery is not allowed"),
        ("num_turns > (SELECT 1)", "a subquery is not allowed"),
        ("row_number() OVER () > 1", "a window is not allowed"),
        ("list_filter(notes, lambda note: note = 'x') = notes", "function 'list_filter' is not allowed"),
        ("random() < 0.5", "function 'random' is not allowed; nearest: 'round'. Allowed: abs, "),
        ("current_setting('threads') = answer", "function 'current_setting' is not allowed"),
        ("getvariable('x') = answer", "function 'getvariable' is not allowed"),
        ("max(index) > 2", "function 'max' is not allowed"),
        ("COLUMNS('num.*') > 1", "a star is not allowed"),
        ("num_turns > $1", "a parameter is not allowed"),
        ("answer COLLATE NOCASE = 'x'", "a collation is not allowed"),
        ("", "syntax error"),
    ],
)
def test_a_filter_is_one_condition_over_declared_columns_and_nothing_else(rule: str, message: str) -> None:
    with pytest.raises(BadInput, match=r"^filter .* of source 's': ") as caught:
        read_filters(MixEntry(source="s", filters=(rule,)))
    assert any(part in str(caught.value) for part in message.split("|"))
    assert "\n" not in str(caught.value)


def test_a_value_that_cannot_be_read_is_told_with_what_helps(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Could not convert string 'two'.*TRY_CAST"):
        kept(tmp_path, "CAST(answer AS INTEGER) > 1")


def test_a_value_that_is_tried_is_null_where_it_is_none(tmp_path: Path) -> None:
    assert kept(tmp_path, "TRY_CAST(answer AS INTEGER) > 1") == [1]


def test_a_mix_reaches_no_file_but_its_own_whatever_a_filter_could_say(tmp_path: Path) -> None:
    """Even if something slipped through the reading of filters: the second lock."""
    mine, other = tmp_path / "mine [1]", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        pq.write_table(pa.table({"x": [1]}), folder / "a.parquet")
    with connect(tmp_path / "scratch", [mine]) as connection:
        add_view(connection, "record", [mine / "a.parquet"])
        assert connection.execute("SELECT x FROM record").fetchall() == [(1,)]
        for place in (other / "a.parquet", mine / ".." / "other" / "a.parquet"):
            with pytest.raises(duckdb.PermissionException):
                connection.execute(f"SELECT x FROM '{place}'")
        with pytest.raises(duckdb.PermissionException):
            connection.execute(f"COPY (SELECT 1) TO '{other}/b.csv'")
        with pytest.raises(duckdb.InvalidInputException):
            connection.execute("SET enable_external_access = true")


def test_every_allowed_function_is_one_of_the_databases_own_and_gives_the_same_for_the_same() -> None:
    told = duckdb.connect().execute(
        "SELECT function_name, bool_and(coalesce(stability, 'CONSISTENT') = 'CONSISTENT'), bool_and(function_type IN ('scalar', 'macro')) "
        "FROM duckdb_functions() GROUP BY 1"
    )
    known = {name: consistent and scalar for name, consistent, scalar in told.fetchall()}
    assert {name: known.get(name) for name in OPERATORS | FUNCTIONS} == dict.fromkeys(OPERATORS | FUNCTIONS, True)


def test_the_page_names_every_column() -> None:
    assert [name for name in described_columns() if f"`{name}`" not in DOCS.read_text()] == []
