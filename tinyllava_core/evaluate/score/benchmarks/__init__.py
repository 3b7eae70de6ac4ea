"""The table of benchmarks: one row each, exact keys. A manifest's `scorer` names one; each file holds one's rules."""

from __future__ import annotations

from tinyllava_core.errors import unknown
from tinyllava_core.evaluate.score.benchmarks.choice.ai2d import AI2D
from tinyllava_core.evaluate.score.benchmarks.choice.blink import BLINK
from tinyllava_core.evaluate.score.benchmarks.choice.cvbench import CVBENCH
from tinyllava_core.evaluate.score.benchmarks.choice.mmbench import MMBENCH
from tinyllava_core.evaluate.score.benchmarks.choice.mmmu import MMMU
from tinyllava_core.evaluate.score.benchmarks.choice.mmmu_pro import MMMU_PRO
from tinyllava_core.evaluate.score.benchmarks.choice.mmstar import MMSTAR
from tinyllava_core.evaluate.score.benchmarks.choice.mmvp import MMVP
from tinyllava_core.evaluate.score.benchmarks.choice.realworldqa import REALWORLDQA
from tinyllava_core.evaluate.score.benchmarks.choice.scienceqa import SCIENCEQA
from tinyllava_core.evaluate.score.benchmarks.choice.seedbench import SEEDBENCH
from tinyllava_core.evaluate.score.benchmarks.described.captions import CAPTIONS
from tinyllava_core.evaluate.score.benchmarks.described.chair import CHAIR
from tinyllava_core.evaluate.score.benchmarks.described.refcoco import REFCOCO
from tinyllava_core.evaluate.score.benchmarks.judged.llavabench import LLAVABENCH
from tinyllava_core.evaluate.score.benchmarks.judged.mmvet import MMVET
from tinyllava_core.evaluate.score.benchmarks.short_answer.chartqa import CHARTQA
from tinyllava_core.evaluate.score.benchmarks.short_answer.docvqa import DOCVQA, INFOVQA
from tinyllava_core.evaluate.score.benchmarks.short_answer.easyvqa import EASYVQA
from tinyllava_core.evaluate.score.benchmarks.short_answer.gqa import GQA
from tinyllava_core.evaluate.score.benchmarks.short_answer.mathvista import MATHVISTA
from tinyllava_core.evaluate.score.benchmarks.short_answer.ocrbench import OCRBENCH
from tinyllava_core.evaluate.score.benchmarks.short_answer.ocrbench_v2 import OCRBENCH_V2
from tinyllava_core.evaluate.score.benchmarks.short_answer.own import OWN
from tinyllava_core.evaluate.score.benchmarks.short_answer.textvqa import TEXTVQA
from tinyllava_core.evaluate.score.benchmarks.short_answer.vizwiz import VIZWIZ
from tinyllava_core.evaluate.score.benchmarks.short_answer.vqa import VQA
from tinyllava_core.evaluate.score.benchmarks.yes_no.hallusionbench import HALLUSIONBENCH
from tinyllava_core.evaluate.score.benchmarks.yes_no.mme import MME
from tinyllava_core.evaluate.score.benchmarks.yes_no.pope import POPE
from tinyllava_core.evaluate.score.scoring import Benchmark

_LLAVA = (VQA, GQA, SCIENCEQA, TEXTVQA, POPE, MME, MMBENCH, MMVET, LLAVABENCH, MMMU, CHAIR)
_CHOICE = (MMSTAR, AI2D, SEEDBENCH, REALWORLDQA, BLINK, CVBENCH, MMVP, MMMU_PRO)
_READING = (CHARTQA, DOCVQA, INFOVQA, OCRBENCH, OCRBENCH_V2, MATHVISTA, VIZWIZ)
_OTHER = (HALLUSIONBENCH, CAPTIONS, REFCOCO, EASYVQA, OWN)
BENCHMARKS: dict[str, Benchmark] = {row.name: row for row in (*_LLAVA, *_CHOICE, *_READING, *_OTHER)}


def benchmark(name: str) -> Benchmark:
    """Give a benchmark's row. Raises BadInput on an unknown name, with the known ones."""
    if name not in BENCHMARKS:
        raise unknown("scorer", name, BENCHMARKS)
    return BENCHMARKS[name]
