"""Mutated tables of image URLs: refused in one line, or each row has a name inside its folder and an address, or a fault."""

from __future__ import annotations

import csv
import io
import json
import random
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.torture.mutate import NUMBERS, mutated, refused
from tinyllava_core.data.download.table.rows import read_rows
from tinyllava_core.data.files.archive import safe_path
from tinyllava_core.errors import BadInput

URLS = (
    *(
        "http://h.example/a.jpg",
        "https://h.example/b.png?x=1#f",
        "b/c.jpg",
        "",
        "http://[::1/a",
        "http://[fe80::1%25eth0]/a",
    ),
    *(
        "http://ℌ.example/a",
        "http://h.example:99999/a",
        "http://me:secret@h.example/a",
        "file:///etc/passwd",
        "data:,x",
        "http://",
    ),
    *(
        "http://h.example/?X-Amz-Signature=secret&k=1",
        "http://h.example/" + "y" * 9000,
        "http://h\ud800/",
        "//h.example/z",
        "\n",
    ),
)
NAMES = (
    "a.jpg",
    "b/c.jpg",
    "b/d.jpg",
    "../e",
    "/e",
    "",
    "x" * 400,
    "b",
    "ä.jpg",
    "e\ud800",
    "nul\0",
    "a.jpg/b",
    "C:\\x",
    None,
    7,
)
WORDS = (*NUMBERS, b",", b'"', b"\n", b"\t", b"\xff", b"http://", b"../", b"{", b"}", b"z" * 140_000)


def try_url_tables(chance: random.Random) -> str:
    """Write a table in one of its five forms, change it by bytes or not, read its rows."""
    suffix = chance.choice((".jsonl", ".json", ".csv", ".tsv", ".parquet"))
    rows = [{"url": chance.choice(URLS), "name": f"{number}/{_name(chance)}"} for number in range(chance.randint(1, 8))]
    data = _written(rows, suffix)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / f"t{suffix}"
        changed = chance.random() < 0.7
        table.write_bytes(mutated(data, chance, WORDS) if changed else data)
        try:
            found = read_rows(table, url_column="url", name_column="name", base_url="http://base.example/x/")
        except BadInput as error:
            return refused(error, table.name)
    assert changed or len(found) == len(rows), f"{len(rows)} rows went in, {len(found)} came out"
    usable = [row for row in found if row.url]
    assert len({row.name for row in usable}) == len(usable), "two rows for one file"
    for row in usable:
        assert safe_path(row.name) is not None, f"leaves its folder: {row.name!r}"
        assert urlsplit(row.url).scheme, f"no address: {row.url!r}"
    for row in found:
        assert changed or "secret" not in row.written + row.detail, "a secret is kept"
        (row.name + row.written + row.detail).encode()
    return "read" if len(usable) == len(found) else "some rows refused"


def _name(chance: random.Random) -> object:
    return chance.choice(NAMES)


def _written(rows: list[dict[str, object]], suffix: str) -> bytes:
    if suffix == ".jsonl":
        return "\n".join(map(json.dumps, rows)).encode()
    if suffix == ".json":
        return json.dumps(rows).encode()
    plain = [{key: str(value).encode(errors="replace").decode() for key, value in row.items()} for row in rows]
    if suffix == ".parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(plain), buffer)
        return buffer.getvalue()
    text = io.StringIO()
    writer = csv.DictWriter(text, ["url", "name"], delimiter="\t" if suffix == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue().encode()
