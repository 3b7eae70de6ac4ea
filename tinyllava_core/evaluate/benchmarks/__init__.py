"""The table of benchmarks: one row each, exact keys. A manifest's `scorer` names one; each file holds one's rules."""

from __future__ import annotations

from tinyllava_core.errors import unknown
from tinyllava_core.evaluate.benchmarks.chair import CHAIR
from tinyllava_core.evaluate.benchmarks.gqa import GQA
from tinyllava_core.evaluate.benchmarks.llavabench import LLAVABENCH
from tinyllava_core.evaluate.benchmarks.mmbench import MMBENCH
from tinyllava_core.evaluate.benchmarks.mme import MME
from tinyllava_core.evaluate.benchmarks.mmmu import MMMU
from tinyllava_core.evaluate.benchmarks.mmvet import MMVET
from tinyllava_core.evaluate.benchmarks.pope import POPE
from tinyllava_core.evaluate.benchmarks.scienceqa import SCIENCEQA
from tinyllava_core.evaluate.benchmarks.textvqa import TEXTVQA
from tinyllava_core.evaluate.benchmarks.vqa import VQA
from tinyllava_core.evaluate.scoring import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    row.name: row for row in (VQA, GQA, SCIENCEQA, TEXTVQA, POPE, MME, MMBENCH, MMVET, LLAVABENCH, MMMU, CHAIR)
}


def benchmark(name: str) -> Benchmark:
    """Give a benchmark's row. Raises BadInput on an unknown name, with the known ones."""
    if name not in BENCHMARKS:
        raise unknown("scorer", name, BENCHMARKS)
    return BENCHMARKS[name]
