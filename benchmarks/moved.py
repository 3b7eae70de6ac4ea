"""Whether a study's variants moved a score beyond the orders' spread: `python benchmarks/moved.py STUDY --workspace WORKSPACE`.

A training is the unit, the study's first variant what the others are held against; the intervals share 5 %. It trains nothing: `tinyllava study STUDY` does.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from tinyllava_core.lineage.query import ask
from tinyllava_core.lineage.store import open_read_only
from tinyllava_core.study.grid import load, runs
from tinyllava_core.study.searched import gain

SCORES = """
SELECT recipe, benchmark, list(DISTINCT {'made': fingerprint, 'percent': 100 * score / max_score}) AS scores
FROM score
WHERE NOT blind
GROUP BY recipe, benchmark
"""


def main() -> None:
    """Print one table: a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", help="a name, or a path to a YAML file")
    parser.add_argument("--workspace", type=Path, required=True)
    given = parser.parse_args()
    with open_read_only(given.workspace) as connection:
        found = {row[:2]: [one["percent"] for one in row[2]] for row in ask(connection, SCORES, {}).rows}
    names = {run.variant: run.overrides["name"] for run in runs(load(given.study), {})}
    benchmarks = sorted({benchmark for recipe, benchmark in found if recipe in names.values()})
    if not benchmarks:
        raise SystemExit(
            f"{given.workspace}: no score of study {given.study}; run it first: tinyllava study {given.study}"
        )
    first, *others = names
    print("| variant | orders |" + "".join(f" {one}, mean (sd) | gain, 95 % interval |" for one in benchmarks))
    print("| --- | --- |" + " --- | --- |" * len(benchmarks))
    for variant, recipe in names.items():
        cells = []
        for benchmark in benchmarks:
            base, mine = (found.get((one, benchmark), []) for one in (names[first], recipe))
            cells.append(
                f"{statistics.fmean(mine):.1f} ({statistics.stdev(mine):.1f})" if len(mine) > 1 else "not trained"
            )
            moved = gain(base, mine, len(others)) if variant != first and min(len(base), len(mine)) > 1 else None
            cells.append(
                "" if moved is None else f"{moved.mean:+.1f}, {moved.low:+.1f} .. {moved.high:+.1f}: {moved.verdict}"
            )
        count = max(len(found.get((recipe, benchmark), [])) for benchmark in benchmarks)
        print(f"| {variant} | {count} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
