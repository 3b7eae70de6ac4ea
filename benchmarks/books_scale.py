"""The books of a workspace with many runs: how long publishing, asking, a report's facts and gc take, at growing sizes.

    python benchmarks/books_scale.py [--runs 1000] [--artifacts 10]

Each run has its own artifacts, three stages of them with files. Rows are left as a run leaves them, but for the waits for the
disk, which are switched off: they are what a run spends on it over weeks. Then 50 processes leave rows at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tinyllava_core.lineage.fragments as rows
from tinyllava_core.disk import weigh
from tinyllava_core.lineage.store import leave, open_read_only, publish, rebuild
from tinyllava_core.recipe import load
from tinyllava_core.report.gather import gather
from tinyllava_core.results import MixResult

RECIPE = load("toy")
START = datetime(2026, 1, 1, tzinfo=UTC)
RESULT = {field.name: 1 for field in dataclasses.fields(MixResult)}  # the numbers do not matter, their number does


def leave_run(home: Path, number: int, artifacts: int) -> None:
    """Leave what a run leaves: its rows, and for each artifact a folder with result.json and four fragments."""
    name, at = f"toy-{number:06d}", START + timedelta(minutes=number)
    run = {
        "run_id": name,
        "recipe": "toy",
        "recipe_yaml": "name: toy\n" * 100,
        "recipe_sha256": "0",
        "overrides_json": "{}",
    }
    run |= {"flow_run_id": None, "git_commit": None, "git_dirty": None, "packages_json": "{}", "host": "h", "seed": 1}
    leave(home, "run", name, [run | {"started_at": at}])
    before = None
    for place in range(artifacts):
        key = f"{number:08x}{place:08x}"
        folder = home / "artifacts" / "mix" / key
        folder.mkdir(parents=True)
        inputs = {"before": before} if before else {}
        told = {"stage": "mix", "version": 1, "fingerprint": key, "spec": {}, "inputs": inputs, "result": RESULT}
        (folder / "result.json").write_text(json.dumps(told))
        leave(home, "mix", key, [{"fingerprint": key, **RESULT}])
        leave(
            home, "edge", key, [{"fingerprint": key, "input": "before", "input_fingerprint": before}] if before else []
        )
        artifact = {"fingerprint": key, "stage": "mix", "version": 1, "made_at": at, "seconds": 1.0, "size_bytes": 9}
        leave(home, "artifact", key, [artifact | {"folder": str(folder), "spec_json": "{}"}])
        stage = {"run_id": name, "stage": "mix", "name": str(place), "fingerprint": key, "made": True, "started_at": at}
        leave(home, "stage", f"{name} mix {place}", [stage | {"seconds": 1.0, "task_run_id": None}])
        before = key
    leave(home, "run_end", name, [{"run_id": name, "ended_at": at, "state": "Completed"}])


def seconds(do: Callable[[], object]) -> float:
    """Time one call on this process's own clock."""
    began = time.process_time()
    do()
    return time.process_time() - began


def ask(home: Path, sql: str) -> list[tuple[object, ...]]:
    """Open as a reader does, ask, close."""
    with open_read_only(home) as lineage:
        return lineage.execute(sql).fetchall()


def measure(home: Path, runs: int, artifacts: int) -> None:
    """Publish one more run, rebuild, ask, weigh: a line of the table."""
    leave_run(home, runs, artifacts)
    one_more = seconds(lambda: publish(home))
    whole = seconds(lambda: rebuild(home))
    chain = "WITH RECURSIVE up AS (SELECT fingerprint FROM stage WHERE run_id = 'toy-000000' UNION SELECT input_fingerprint FROM edge JOIN up USING (fingerprint)) SELECT count(*) FROM up"  # fmt: skip
    asked = seconds(
        lambda: ask(home, "SELECT count(*) FROM run JOIN stage USING (run_id) JOIN artifact USING (fingerprint)")
    )
    asked_up = seconds(lambda: ask(home, chain))
    gathered = seconds(lambda: gather(home, "toy-000000", RECIPE))
    weighed = seconds(lambda: weigh(home, keep=10))
    ((found, of),) = ask(home, "SELECT (SELECT count(*) FROM run), (SELECT count(*) FROM artifact)")
    assert (found, of) == (runs + 1, (runs + 1) * artifacts), (found, of)
    size = (home / "lineage.duckdb").stat().st_size
    cells = f"{runs + 1:,} | {of:,} | {one_more:.2f} | {whole:.2f} | {asked:.2f} | {asked_up:.2f} | {gathered:.2f} | {weighed:.2f} | {size / 1e6:.1f}"
    print(f"| {cells} |", flush=True)


def many_at_once(home: Path, processes: int = 50, each: int = 20) -> None:
    """Let many processes leave rows at the same moment, some publishing meanwhile; none may be lost."""
    gate = multiprocessing.Barrier(processes)
    started = [
        multiprocessing.Process(target=_leave_many, args=(home, gate, number, each)) for number in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert all(process.exitcode == 0 for process in started)
    publish(home)
    ((found,),) = ask(home, "SELECT count(DISTINCT fingerprint) FROM edge WHERE input = 'at once'")
    print(
        f"{processes} processes left {processes * each:,} fragments at once, 5 of them publishing: {found:,} are there"
    )
    assert found == processes * each


def _leave_many(home: Path, gate: multiprocessing.Barrier, number: int, each: int) -> None:
    gate.wait()
    for one in range(each):
        key = f"at once {number} {one}"
        leave(home, "edge", key, [{"fingerprint": key, "input": "at once", "input_fingerprint": "x"}])
    if number % 10 == 0:
        publish(home)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--artifacts", type=int, default=10, help="of each run")
    given = parser.parse_args()
    rows.publish = lambda aside, final: aside.rename(final)
    with tempfile.TemporaryDirectory() as folder:
        home, made = Path(folder), 0
        print(
            "| runs | artifacts | publish one more run (CPU s) | rebuild | query | ancestors | report's facts | gc | MB |"
        )
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        for size in (given.runs // 8, given.runs // 4, given.runs // 2, given.runs):
            for number in range(made, size - 1):
                leave_run(home, number, given.artifacts)
            made = size
            publish(home)
            measure(home, size - 1, given.artifacts)
        many_at_once(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
