import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.download.table.fault import FetchFault
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


GOOD = {"url": "http://h/1.jpg", "name": "good.jpg"}


@pytest.mark.parametrize(
    ("row", "fault", "detail"),
    [
        ({"url": "http://[::1/x.jpg", "name": "x"}, "bad_url", "Invalid IPv6 URL"),
        ({"url": "http://a\u2100b/x.jpg", "name": "x"}, "bad_url", "NFKC"),
        ({"url": "http://h:port/x.jpg", "name": "x"}, "bad_url", "Invalid port"),
        ({"url": "http://h/\ud800.jpg", "name": "x"}, "bad_url", "surrogates not allowed"),
        ({"url": "http://h/a\u0000b.jpg", "name": "x"}, "bad_url", "non-printable"),
        ({"url": "http://me:5ec2e7@h/x.jpg", "name": "x"}, "bad_url", "a user's name or password in a URL"),
        ({"url": "http://h/x.jpg", "name": "x" * 256}, "bad_name", "longer than 255 bytes"),
        ({"url": "http://h/x.jpg", "name": "é" * 128}, "bad_name", "longer than 255 bytes"),
        ({"url": "http://h/x.jpg", "name": "/".join(["x" * 200] * 16)}, "bad_name", "longer than 255 bytes, or 3000"),
        ({"url": "http://h/x.jpg", "name": "\ud800"}, "bad_name", "half of a surrogate pair"),
        ({"url": "http://h/x.jpg", "name": "good.jpg/x"}, "bad_name", "a file and a folder of one name"),
    ],
)
def test_a_row_that_is_no_good_ends_itself_and_not_the_table(tmp_path, row, fault, detail):
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in (GOOD, row, {**GOOD, "name": "last.jpg"})))
    first, bad, last = read(tmp_path / "t.jsonl")
    assert [(row.name, row.detail) for row in (first, last)] == [("good.jpg", ""), ("last.jpg", "")]
    assert bad.url == ""
    assert bad.fault == fault
    assert detail in bad.detail
    for text in (bad.name, bad.written, bad.detail):
        text.encode()  # a table can hold it
        assert "5ec2e7" not in text


def test_a_name_that_is_the_folder_of_an_earlier_one_is_no_good(tmp_path):
    rows = [
        {"url": "http://h/1", "name": "a/b"},
        {"url": "http://h/2", "name": "a"},
        {"url": "http://h/3", "name": "a/c"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert [(row.name, row.fault) for row in read(tmp_path / "t.jsonl") if row.detail] == [("a", "bad_name")]


def test_a_row_that_cannot_be_read_is_counted_and_the_next_one_comes(tmp_path):
    (tmp_path / "t.csv").write_text(f"url,name\nhttp://h/1,a\n{'x' * 200_000},b\nhttp://h/3,c\n")
    rows = read(tmp_path / "t.csv")
    assert [row.name for row in rows] == ["a", "row 2", "c"]
    assert (rows[1].fault, rows[1].detail) == ("unforeseen", "field larger than field limit (131072)")


def table_of_ten(tmp_path, suffix, *quoted):
    """Write ten rows with a caption behind them, where those of some begin with a quote that nothing closes."""
    rows = [(f"{n}.jpg", f"a/{n}", '"Look' if n in quoted else "a cat") for n in range(10)]
    comma = "," if suffix == ".csv" else "\t"
    (tmp_path / f"t{suffix}").write_text("".join(comma.join(row) + "\n" for row in [("url", "name", "caption"), *rows]))
    return read(tmp_path / f"t{suffix}")


@pytest.mark.parametrize("quoted", [(3,), (3, 7)])
def test_a_caption_that_begins_with_a_quote_takes_no_row_of_a_tsv_with_it(tmp_path, quoted):
    """Of ten rows four were gone without a word: a quote that opens takes what follows, line by line, to the next one."""
    assert [row.name for row in table_of_ten(tmp_path, ".tsv", *quoted)] == [f"a/{n}" for n in range(10)]


def test_a_quote_that_does_not_close_in_a_csv_costs_rows_that_are_counted(tmp_path):
    rows = table_of_ten(tmp_path, ".csv", 3)
    assert [row.name for row in rows] == [f"a/{n}" for n in range(3)] + [f"row {n}" for n in range(4, 11)]
    assert {(row.fault, row.detail) for row in rows[3:]} == {(FetchFault.UNFORESEEN, "unexpected end of data")}


def test_a_tsv_with_quotes_as_csv_has_them_keeps_their_meaning(tmp_path):
    (tmp_path / "t.tsv").write_text('url\tname\tcaption\n1.jpg\t"a\tb"\t"two\nlines ""said"""\n2.jpg\tc\t\n')
    assert [row.name for row in read(tmp_path / "t.tsv")] == ["a\tb", "c"]


def test_a_table_that_is_not_utf_8_is_one_line(tmp_path):
    (tmp_path / "t.csv").write_bytes("url,name\nhttp://h/1,é\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"^t\.csv, behind line \d+: not UTF-8 \(invalid .*\); save the table as UTF-8$"):
        read(tmp_path / "t.csv")


def test_a_broken_parquet_is_one_line(tmp_path):
    pq.write_table(pa.table({"url": ["u"] * 1000, "name": [f"n{n}" for n in range(1000)]}), tmp_path / "t.parquet")
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    data[40:400] = bytes(360)
    (tmp_path / "t.parquet").write_bytes(data)
    with pytest.raises(BadInput, match=r"^t\.parquet: not Parquet: .*$"):
        read(tmp_path / "t.parquet")


def test_rows_of_one_name_and_sum_are_one_picture_and_a_sum_is_64_digits(tmp_path):
    rows = [{"url": "a", "name": "x", "sum": "A" * 64}, {"url": "b", "name": "x", "sum": "a" * 64}]
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    (row,) = read(table, sha256_column="sum")
    assert (row.name, row.sha256, row.url) == ("x", "a" * 64, "http://host/t/a")
    table.write_text("\n".join(map(json.dumps, [rows[0], {"url": "b", "name": "x", "sum": "b" * 64}])))
    with pytest.raises(BadInput, match="row 2: name = 'x' is in row 1 already"):
        read(table, sha256_column="sum")
    table.write_text(json.dumps({"url": "a", "name": "x", "sum": "a" * 63}))
    with pytest.raises(BadInput, match=r"row 1: sum = .* expected 64 hexadecimal digits"):
        read(table, sha256_column="sum")


def test_more_cells_than_columns_do_not_hide_which_column_is_missing(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("address,name\nhttp://h/a,a.jpg,one,too,many\n")
    with pytest.raises(BadInput, match=r"t\.csv, row 1: no column 'url'\. Columns: address, name$"):
        read_rows(table, url_column="url", name_column="name", base_url="")


def test_a_parquet_whose_text_is_no_utf8_is_one_line(tmp_path):
    table = pa.table({"url": ["http://h/ä"], "name": ["a.jpg"]})
    pq.write_table(table, tmp_path / "t.parquet", compression="none", use_dictionary=False, write_statistics=False)
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data.replace(b"\xc3\xa4", b"\xc3("))
    with pytest.raises(BadInput, match=r"^t\.parquet: not Parquet: 'utf-8' codec can't decode .*$"):
        read(tmp_path / "t.parquet")
