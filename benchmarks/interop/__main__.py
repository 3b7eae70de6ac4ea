"""`make interop`: other people's real tools on what a finished toy run left, each in an environment of its own, item by item.

It prints one table: tool, version, items, differences, reason. A tool that cannot be had here says so in its row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.interop.environments import NotInstalled, install
from benchmarks.interop.ours import Toy
from benchmarks.interop.rows import ROWS, Failed, Found, Row, compare


def main() -> int:
    """Install, run and compare row by row. Exit code 1 if a tool answers otherwise than we do and no reason is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("workspace"), help="where `make demo` left its run")
    parser.add_argument("--environments", type=Path, default=Path(".interop"), help="where the environments are made")
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[], help="rows whose name has one of these words")
    parser.add_argument("--out", type=Path, default=Path("interop.json"))
    given = parser.parse_args()
    toy, home = Toy.find(given.workspace), given.environments.absolute()
    chosen = [row for row in ROWS if not given.only or any(word in row.name.lower() for word in given.only)]
    found = []
    print(f"{'tool':<28}{'version':<24}{'items':>6}{'differences':>13}  reason", flush=True)
    for row in chosen:
        found.append(look(row, home, toy))
        print(line(found[-1]), flush=True)
    given.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    unknown = [one for row, one in zip(chosen, found, strict=True) if one.differences and not row.why]
    return 1 if unknown else 0


def look(row: Row, home: Path, toy: Toy) -> Found:
    """Make one row of the table."""
    version, items = "", 0
    try:
        return compare(row, install(row.environment, home), toy)
    except NotInstalled as error:
        reason = f"cannot be installed here: {error}"
    except (Failed, subprocess.TimeoutExpired) as error:
        reason = f"does not run here: {error}"
    return Found(tool=row.name, version=version, items=items, differences=None, reason=reason)


def line(found: Found) -> str:
    """Write one row."""
    differences = "-" if found.differences is None else f"{found.differences:,}"
    return f"{found.tool:<28}{found.version:<24}{found.items:>6,}{differences:>13}  {found.reason}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
