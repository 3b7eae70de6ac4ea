"""Another DuckDB: open the published lineage read-only, and say what each table and view holds."""

import json
import sys
from pathlib import Path

import duckdb

MOST = 500  # rows of each that are compared


def main(given: dict) -> dict:
    """Give, of every table and view in the order of names, its number of rows and the first of them, sorted, as text."""
    connection = duckdb.connect(given["database"], read_only=True)
    names = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY table_name"
    ).fetchall()
    said = []
    for (name,) in names:
        try:
            (count,) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
            rows = connection.execute(f'SELECT * FROM "{name}" ORDER BY ALL LIMIT {MOST}').fetchall()
            said.append([name, count, repr(rows)])
        except duckdb.Error as error:
            said.append([name, None, str(error).splitlines()[0]])
    return {"version": duckdb.__version__, "said": said}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
