"""What the toy world's scores are worth: the default recipe over several seeds, seen beside blind.

`python benchmarks/toy_seeds.py [--seeds 0 1 2] [--workspace DIR]` runs the whole pipeline once a seed and prints the
table that docs/toy.md shows. Everything but data downloads depends on the seed: order, connector, steps, answers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

from tinyllava_core.lineage.store import open_read_only

SCORES = """
SELECT s.benchmark, max(s.score) FILTER (NOT s.blind) AS seen, max(s.score) FILTER (s.blind) AS blind
FROM score AS s
JOIN run AS r USING (run_id)
WHERE r.seed = $seed AND r.started_at = (SELECT max(started_at) FROM run WHERE seed = $seed)
GROUP BY s.benchmark
ORDER BY s.benchmark
"""


def main() -> None:
    """Run every seed and print one line each, then the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    print("| seed | benchmark | seen | blind | gain | wall clock of the run |")
    print("|---|---|---|---|---|---|")
    for seed in given.seeds:
        started = time.monotonic()
        command = [sys.executable, "-m", "flows", "toy", "--set", f"seed={seed}", "--workspace", str(given.workspace)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took = time.monotonic() - started
        with open_read_only(given.workspace) as connection:
            rows = connection.execute(SCORES, {"seed": seed}).fetchall()
        for benchmark, seen, blind in rows:
            found.setdefault(benchmark, []).append((seen, blind))
            print(
                f"| {seed} | {benchmark} | {seen:.1f} | {blind:.1f} | {seen - blind:+.1f} | {took:.0f} s |", flush=True
            )
    for benchmark, pairs in found.items():
        seen, blind = mean(pair[0] for pair in pairs), mean(pair[1] for pair in pairs)
        print(f"| mean | {benchmark} | {seen:.1f} | {blind:.1f} | {seen - blind:+.1f} | |")


if __name__ == "__main__":
    main()
