import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.download.table.rows import read_rows
from tinyllava_core.data.download.table.table import UrlRow
from tinyllava_core.errors import BadInput

ROWS = [{"url": "img/1.jpg", "name": "a/0001.jpg"}, {"url": "http://else.where/2.jpg", "name": "0002"}]
WANTED = [
    UrlRow(name="a/0001.jpg", url="http://host/t/img/1.jpg", written="toyworld://t/img/1.jpg"),
    UrlRow(name="0002", url="http://else.where/2.jpg", written="http://else.where/2.jpg"),
]


def read(table, **changes):
    options = {"url_column": "url", "name_column": "name", "base_url": "http://host/t/table", **changes}
    return read_rows(table, as_written=lambda url: url.replace("http://host/", "toyworld://"), **options)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_a_table_of_each_kind_gives_the_same_rows_and_names_stay_text(tmp_path, suffix):
    table = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), table)
    elif suffix == ".json":
        table.write_text(json.dumps(ROWS))
    elif suffix == ".jsonl":
        table.write_text("\n".join(json.dumps(row) for row in ROWS))
    else:
        comma = "," if suffix == ".csv" else "\t"
        table.write_text("\n".join(comma.join(row) for row in (["url", "name"], *(list(row.values()) for row in ROWS))))
    assert read(table) == WANTED


def test_columns_may_have_other_names(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"u": "x.jpg", "n": "x"}')
    rows = read(tmp_path / "t.jsonl", url_column="u", name_column="n")
    assert rows == [UrlRow(name="x", url="http://host/t/x.jpg", written="toyworld://t/x.jpg")]


@pytest.mark.parametrize("url", [None, "", 5])
def test_a_row_without_a_url_stays_to_become_a_failure(tmp_path, url):
    (tmp_path / "t.jsonl").write_text(json.dumps({"url": url, "name": "x"}))
    assert [(row.name, row.url) for row in read(tmp_path / "t.jsonl")] == [("x", "")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"url": "a", "nam": "b"}'], r"row 1: no column 'name'; nearest: 'nam'\. Columns: url, nam"),
        (
            ['{"url": "a", "name": "b"}', '{"url": "a", "name": "../b"}'],
            r"row 2: name = '\.\./b': expected a file name",
        ),
        (['{"url": "a", "name": "/b"}'], "row 1: name = '/b'"),
        (['{"url": "a", "name": null}'], "row 1: name = None"),
        (
            ['{"url": "a", "name": "b"}', '{"url": "c", "name": "d"}', '{"url": "a", "name": "./b"}'],
            "row 3: .* is in row 1 already",
        ),
        (["[1, 2]"], "row 1: expected an object, found list"),
        (['{"url": '], r"t\.jsonl, line 1: broken JSON"),
    ],
)
def test_a_fault_of_the_table_names_its_row(tmp_path, lines, message):
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    with pytest.raises(BadInput, match=message):
        read(tmp_path / "t.jsonl")


def test_an_unknown_suffix_lists_the_known(tmp_path):
    with pytest.raises(
        BadInput, match=r"unknown kind of table; expected one of \.jsonl, \.json, \.csv, \.tsv, \.parquet"
    ):
        read(tmp_path / "t.xlsx")
