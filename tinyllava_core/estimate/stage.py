"""One training stage beforehand: its steps and tokens, from its plan or from the expected lengths; what it takes of a GPU.

It trains nothing, and needs no GPU, no torch and no tokenizer.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinyllava_core.data.manifest.local_copies import with_copies
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.data.plan.order import cut_steps
from tinyllava_core.data.plan.pack import deal, pack
from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.lengths import draw
from tinyllava_core.estimate.looked import Looked, look
from tinyllava_core.estimate.memory import Memory, memory
from tinyllava_core.estimate.part_counts import PartCount, part_counts
from tinyllava_core.estimate.shapes import shapes
from tinyllava_core.estimate.work import Work, work
from tinyllava_core.parts import language_row
from tinyllava_core.parts.prompts import prompt_row
from tinyllava_core.recipe import Recipe

TYPICAL = (
    640,
    480,
)  # pixels of a picture whose size is not known yet: the most frequent one of COCO, most of LLaVA's pictures
_STEPS_DRAWN = 24  # steps that stand for all


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a stage's steps hold. From a plan: counted. Else: expected."""

    basis: str  # in words: which plan, or that it is an estimate
    is_counted: bool
    num_records: int  # planned places: records x epochs
    num_steps: int
    num_tokens: float
    tokens_error: float  # standard error of num_tokens by the draw, and of what was looked at; the table's lengths may be off by more
    unusable: (
        tuple[float, float] | None
    )  # records whose texts cannot be used, and its standard error; None: not looked at
    num_supervised: float
    num_images: float
    num_tiles: float  # pictures through the encoder: the images, or what they are cut into
    squares: float  # of the records' lengths, summed: what attention costs
    num_truncated: float
    voided: dict[str, int] | None  # by reason; None: not known before the plan
    packs_a_step: float
    longest_pack: int
    padding_fraction: float
    waiting_fraction: float  # of a step's time that the average rank waits for the busiest


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEstimate:
    """One training stage beforehand."""

    stage: str
    load: Load
    parts: list[PartCount]
    work: Work
    memory: Memory

    @property
    def needed(self) -> float:
        """Operations that the model needs."""
        return self.work.needed(*self._amounts())

    def gpu_hours(self, peak: float, utilisation: float) -> float:
        """Hours of one GPU, recomputation included, that does so much of its `peak` operations a second."""
        return self.work.done(*self._amounts()) / (peak * utilisation) / 3600 / (1 - self.load.waiting_fraction)

    def _amounts(self) -> tuple[float, float, float, float]:
        load = self.load
        return load.num_tokens, load.squares, load.num_supervised, load.num_tiles


def estimate(recipe: Recipe, stage: str, plan: Path | None = None, hub_into: Path | None = None) -> StageEstimate:
    """Estimate one stage of a recipe; `plan`: the artifact folder of its plan, if there is one.

    `hub_into`: a folder for texts of hubs' data sets that are looked at, for a while; None: no hub is asked.
    """
    training, model = recipe.training(stage), recipe.model_in(stage)
    ranks = recipe.launch.processes * recipe.launch.nodes
    load = planned(plan, ranks) if plan else expected(recipe, stage, ranks, hub_into)
    known, counts = shapes(model), part_counts(model, training)
    in_pack = load.longest_pack / max(1.0, load.num_tokens)
    return StageEstimate(
        stage=stage,
        load=load,
        parts=counts,
        work=work(known, training),
        memory=memory(
            known,
            counts,
            training,
            recipe.launch,
            load.longest_pack,
            images_in_pack=load.num_tiles * in_pack,
            supervised_in_pack=load.num_supervised * in_pack,
        ),
    )


def expected(recipe: Recipe, stage: str, ranks: int, hub_into: Path | None = None) -> Load:
    """Say what a stage will hold by the counts of its manifests and the lengths of lengths.yaml, or of records that are looked at."""
    training, model = recipe.training(stage), recipe.model_in(stage)
    prompt = training.prompt or language_row(recipe.model.language).prompt
    captions = prompt is not None and prompt_row(prompt).user is None
    count = _STEPS_DRAWN * training.global_batch
    typical = model.scheme.cut(*TYPICAL)
    per_image = model.scheme.ids_of(typical)
    drawn = draw(training.mix, per_image, captions, count, recipe.seed, partial(_look, recipe, hub_into))
    tokens = np.minimum(drawn.num_tokens, training.max_length)
    supervised = np.minimum(drawn.num_supervised, tokens)
    steps = list(
        cut_steps(np.arange(count), drawn.num_images > 0, tokens, training.global_batch, training.group_by, recipe.seed)
    )
    capacity = training.pack_length or training.max_length
    packs = [[int(tokens[members[one]].sum()) for one in pack(tokens[members], capacity)] for members in steps]
    records, factor = drawn.num_records * training.epochs, drawn.num_records * training.epochs / count
    sizes = "" if model.scheme.is_fixed else ", every picture taken as {}x{}".format(*TYPICAL)
    unknown = (
        f"; looked at here: {', '.join(drawn.looked_at)}; tokens from their words, to some 10 %: a plan counts"
        if drawn.looked_at
        else ""
    )
    unknown += f"; unknown to it: {', '.join(drawn.unknown)}" if drawn.unknown else ""
    unknown += "; what the filters leave out is not" if any(entry.filters for entry in training.mix) else ""
    return Load(
        basis=f"estimate from estimate/lengths.yaml{sizes}{unknown}",
        is_counted=False,
        num_records=records,
        num_steps=-(-drawn.num_records // training.global_batch) * training.epochs,
        num_tokens=float(tokens.sum()) * factor,
        tokens_error=math.hypot(error_of_sum(tokens) * factor, drawn.tokens_error * training.epochs),
        unusable=drawn.unusable,
        num_supervised=float(supervised.sum()) * factor,
        num_images=float(drawn.num_images.sum()) * factor,
        num_tiles=float(drawn.num_images.sum()) * typical.num_tiles * factor,
        squares=float((tokens.astype(float) ** 2).sum()) * factor,
        num_truncated=float((drawn.num_tokens > training.max_length).sum()) * factor,
        voided=None,
        **_balance(packs, ranks),
    )


def _look(recipe: Recipe, hub_into: Path | None, manifest: Manifest) -> Looked | None:
    with suppress(BadInput):  # of a copy that is not there: the run says so
        manifest = with_copies(manifest, recipe.data)
    return look(manifest, hub_into)


def error_of_sum(drawn: np.ndarray) -> float:
    """Give the standard error of a sum over records that were drawn independently."""
    return float(drawn.std(ddof=1)) * math.sqrt(len(drawn)) if len(drawn) > 1 else 0.0


def planned(plan: Path, ranks: int) -> Load:
    """Read what a stage holds off its plan."""
    import pyarrow.parquet as pq

    from tinyllava_core.artifact import Artifact
    from tinyllava_core.results import PlanResult

    artifact = Artifact(stage="plan", fingerprint=plan.name, folder=plan)
    result, made_at = artifact.result(PlanResult), artifact.manifest()["made_at"]
    table = pq.read_table(plan / "plan.parquet", columns=["step", "pack", "num_tokens"])
    step, number, tokens = (table[name].to_numpy() for name in ("step", "pack", "num_tokens"))
    starts = np.flatnonzero((np.diff(step, prepend=-1) != 0) | (np.diff(number, prepend=-1) != 0))
    totals, steps = np.add.reduceat(tokens, starts, dtype=np.int64), step[starts]
    packs = np.split(totals, np.flatnonzero(np.diff(steps)) + 1)
    reasons = pq.read_table(plan / "voided.parquet", columns=["reason"])["reason"].to_pylist()
    return Load(
        basis=f"plan {plan.name}, made {made_at[:16].replace('T', ' ')}",
        is_counted=True,
        num_records=result.num_records,
        num_steps=result.num_steps,
        num_tokens=result.num_tokens,
        tokens_error=0.0,
        unusable=None,
        num_supervised=result.num_supervised,
        num_images=result.num_images,
        num_tiles=result.num_tiles,
        squares=float((tokens.astype(float) ** 2).sum()),
        num_truncated=result.num_truncated,
        voided={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        **_balance([one.tolist() for one in packs], ranks),
    )


def _balance(packs: list[list[int]], ranks: int) -> dict[str, Any]:
    """Sum up the packs of steps, each longest first, and how evenly they are dealt to so many ranks."""
    busiest = sum(max(sum(one[number] for number, _ in hand) for hand in deal(one, ranks)) for one in packs)
    total = sum(map(sum, packs))
    return {
        "packs_a_step": sum(map(len, packs)) / len(packs),
        "longest_pack": max(one[0] for one in packs),
        "padding_fraction": 1 - total / sum(len(one) * one[0] for one in packs),
        "waiting_fraction": 1 - total / (busiest * ranks),
    }
