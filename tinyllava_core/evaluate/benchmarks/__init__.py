"""The table of benchmarks: one row each, exact keys. A manifest's `scorer` names one; each file holds one's rules."""

from __future__ import annotations

from tinyllava_core.errors import unknown
from tinyllava_core.evaluate.benchmarks.pope import POPE
from tinyllava_core.evaluate.benchmarks.textvqa import TEXTVQA
from tinyllava_core.evaluate.questions import Benchmark

BENCHMARKS: dict[str, Benchmark] = {row.name: row for row in (POPE, TEXTVQA)}


def benchmark(name: str) -> Benchmark:
    """Give a benchmark's row. Raises BadInput on an unknown name, with the known ones."""
    if name not in BENCHMARKS:
        raise unknown("scorer", name, BENCHMARKS)
    return BENCHMARKS[name]
