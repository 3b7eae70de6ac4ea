"""Faults around a run, one at a time: each ends in the same artifacts as the calm run, or in one line, and then in the same artifacts.

    python -m benchmarks.torture.faults [--fault NAME ...]

The runs are of a person's own photographs: to the plans (inspection, mixes, overlaps, shards, plans), and one training on one rank
and on two. Some faults need root (mounts), one a C compiler; they are told as skipped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[3] / "tests"))

from benchmarks.torture.faults.place import Place, Skipped, prepared
from benchmarks.torture.faults.table import FAULTS


def tried(name: str, place: Place) -> tuple[str, bool]:
    """Try a fault -> what came of it, whether that is as it should be."""
    try:
        came = FAULTS[name](place)
    except Skipped as why:
        came = f"skipped: {why}"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {' '.join(str(error).split())}", False
    return came, True


def main(arguments: list[str]) -> int:
    """Try every fault, print the table. Exit code 1 if one came out otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--fault", choices=FAULTS, action="append")
    wrong = 0
    with tempfile.TemporaryDirectory() as home, prepared(Path(home)) as place:
        print("| fault | what came of it |\n|---|---|", flush=True)
        for name in parser.parse_args(arguments).fault or FAULTS:
            came, as_it_should = tried(name, place)
            wrong += not as_it_should
            print(f"| {name} | {came.replace(home, '')} |", flush=True)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
