"""The table of benchmarks: one row each, exact keys. A manifest's `scorer` names one; each file holds one's rules."""

from __future__ import annotations

from tinyllava_core.errors import unknown
from tinyllava_core.evaluate.score.benchmarks.choice.mmbench import MMBENCH
from tinyllava_core.evaluate.score.benchmarks.choice.mmmu import MMMU
from tinyllava_core.evaluate.score.benchmarks.choice.scienceqa import SCIENCEQA
from tinyllava_core.evaluate.score.benchmarks.described.chair import CHAIR
from tinyllava_core.evaluate.score.benchmarks.judged.llavabench import LLAVABENCH
from tinyllava_core.evaluate.score.benchmarks.judged.mmvet import MMVET
from tinyllava_core.evaluate.score.benchmarks.short_answer.gqa import GQA
from tinyllava_core.evaluate.score.benchmarks.short_answer.textvqa import TEXTVQA
from tinyllava_core.evaluate.score.benchmarks.short_answer.vqa import VQA
from tinyllava_core.evaluate.score.benchmarks.yes_no.mme import MME
from tinyllava_core.evaluate.score.benchmarks.yes_no.pope import POPE
from tinyllava_core.evaluate.score.scoring import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    row.name: row for row in (VQA, GQA, SCIENCEQA, TEXTVQA, POPE, MME, MMBENCH, MMVET, LLAVABENCH, MMMU, CHAIR)
}


def benchmark(name: str) -> Benchmark:
    """Give a benchmark's row. Raises BadInput on an unknown name, with the known ones."""
    if name not in BENCHMARKS:
        raise unknown("scorer", name, BENCHMARKS)
    return BENCHMARKS[name]
