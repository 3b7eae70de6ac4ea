"""What a difference is worth in the toy world: seen beside blind and blurred, and two seeds of one recipe beside each other.

`python benchmarks/toy_compare.py [--seeds 0 1] [--workspace DIR]` runs the whole pipeline once a seed (what is there
already is not made again) and prints the tests of `tinyllava compare`. Pictures should matter, seeds mostly should not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.evaluate.compare.score_pair import Kept, compare_all, kept
from tinyllava_core.lineage.scored import scored
from tinyllava_core.lineage.store import open_read_only

HEAD = ("compared", "benchmark", "first", "second", "difference", "95 % interval", "p (Holm)", "verdict")
NEWEST = "SELECT run_id FROM run WHERE seed = $seed ORDER BY started_at DESC LIMIT 1"


def main() -> None:
    """Run every seed, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--corruptions", nargs="*", default=["blur-3", "noise-3"])
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    given = parser.parse_args()
    runs = []
    for seed in given.seeds:
        settings = [f"seed={seed}", f"evaluate.robustness=[{', '.join(given.corruptions)}]"]
        command = [sys.executable, "-m", "flows", "toy", "--set", *settings, "--workspace", str(given.workspace)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open_read_only(given.workspace) as connection:
            runs += [row[0] for row in connection.execute(NEWEST, {"seed": seed}).fetchall()]
    for line in table(given.workspace, runs):
        print(line)


def table(workspace: Path, runs: Sequence[str]) -> list[str]:
    """Compare each run's conditions with its seen answers, and each run with the first -> lines of Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    seen = {run: answers(workspace, run, "seen") for run in runs}
    for run in runs:
        for word in conditions(workspace, run):
            lines += [_line(f"{run}: {word}", one) for one in compare_all(seen[run], answers(workspace, run, word))]
    for run in runs[1:]:
        lines += [_line(f"{runs[0]}, {run}", one) for one in compare_all(seen[runs[0]], seen[run])]
    return lines


def conditions(workspace: Path, run: str) -> list[str]:
    """List a run's conditions but the seen one."""
    return sorted({told["condition"] for told, _ in scored(workspace, run)} - {"seen"})


def answers(workspace: Path, run: str, word: str) -> list[Kept]:
    """Give a run's scores under one condition, by the benchmark's name alone."""
    mine = [(told, items) for told, items in scored(workspace, run) if told["condition"] == word]
    return [replace(kept(told, items), name=told["benchmark"]) for told, items in mine]


def _line(compared: str, one: Difference) -> str:
    cells = [compared, one.benchmark, f"{one.first:.1f}", f"{one.second:.1f}", f"{one.difference:+.1f}"]
    cells += [f"{one.ci_low:+.1f} .. {one.ci_high:+.1f}", f"{one.p_holm:.4f}", one.verdict()]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
