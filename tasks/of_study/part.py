"""A part of a variant's last stage: its first steps, and the loss after them on records that none of its stages trains on.

The training stays where it is in the workspace: the whole pipeline goes on with it from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect.states import State

from tasks.record import spec_of
from tasks.run import Run
from tasks.running.progress import LOG
from tasks.stage import stage
from tasks.train import inputs_of, take_steps, train_spec
from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.job import TrainJob
from tinyllava_core.recipe import StageName
from tinyllava_core.results import PlanResult
from tinyllava_core.study import grid
from tinyllava_core.study.grid import Planned
from tinyllava_core.study.halving import Measured, Part, Standing, stand


class Paused(Exception):
    """The first steps are taken; the folder waits to be gone on with."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What became of every variant at one part of the steps."""

    standings: list[Standing]
    failed: list[str]
    going: list[Planned]


@stage("train", task_run_name="{stage}, the first {part:.0%}")
def train_part(
    run: Run,
    stage: StageName,
    shards: Artifact,
    plan: Artifact,
    start: Artifact | None,
    features: Artifact | None,
    part: float,
    mixes_before: Sequence[Artifact],
) -> Part:
    """Take a part of a stage's steps, unless they are taken, and measure. `mixes_before`: what trained the checkpoint it starts from."""
    inputs, num_steps = inputs_of(shards, plan, start), plan.result(PlanResult).num_steps
    step = math.ceil(part * num_steps)

    def make(folder: Path) -> None:
        if loss_after(folder, step) is None:
            take_steps(run, stage, inputs, features, folder, until=step)
        raise Paused(folder)

    spec = spec_of(stage, train_spec(run.recipe, stage))
    try:
        folder = make_once(run.workspace, stage, TrainJob.VERSION, spec, inputs, make, resumable=True).folder
    except Paused as paused:
        folder = paused.folder
    loss = loss_after(folder, step)
    told = "no loss of it was measured there" if loss is None else f"held-out loss {loss:.4f}"
    LOG.info("%s", f"{stage:<9} {f'the first {part:.0%}':<16} step {step:,} of {num_steps:,}, {told}")
    alone = "" if loss is not None else "it was trained to its end before, without a look at this step"
    return Part(
        step=step,
        num_steps=num_steps,
        loss=loss,
        same=same_tokens(shards, plan),
        why_alone=alone or trained_before(plan, mixes_before),
    )


def loss_after(folder: Path, step: int) -> float | None:
    """Give the held-out loss after so many optimizer steps; None where it was not measured."""
    file = folder / "held_out.jsonl"
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()
    return next((row["loss"] for row in rows if row["step"] == step - 1), None)


def same_tokens(shards: Artifact, plan: Artifact) -> str:
    """Hash what a held-out loss is a mean over, and the data that the training of it sees: mix, void records, tokenizer, tokens."""
    spec = plan.manifest()["spec"]
    table = pq.read_table(plan.folder / "held_out" / "plan.parquet", columns=["record_id", "num_supervised"])
    told = [
        shards.manifest()["inputs"]["mix"],
        [spec.get(key) for key in ("void_sha256", "tokenizer_sha256", "prompt", "writing")],
        sorted(zip(*table.to_pydict().values(), strict=True)),
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def trained_before(plan: Artifact, mixes_before: Sequence[Artifact]) -> str:
    """Say how many of the held-out records an earlier stage trains on; "" where it is none."""
    held_out = pq.read_table(plan.folder / "held_out" / "plan.parquet", columns=["record_id"])["record_id"]
    seen = {
        name
        for mixed in mixes_before
        for name in _of(pq.read_table(mixed.folder / "mix.parquet", columns=["record_id"]), held_out)
    }
    return f"an earlier stage trains on {len(seen)} of the held-out records" if seen else ""


def _of(table: pq.pa.Table, wanted: pq.pa.ChunkedArray) -> list[str]:
    names = table["record_id"]
    found: list[str] = names.filter(pc.is_in(names, value_set=wanted.combine_chunks())).to_pylist()
    return found


def rank(study: str, part: float, planned: Sequence[Planned], ended: Sequence[State[Part]]) -> Rung:
    """Decide which variants go on after a part of their steps. A training that failed there goes on in no case, and cuts no other."""
    done, failed = [], []
    for run, state in zip(planned, ended, strict=True):
        if state.is_completed():
            told = dataclasses.asdict(state.result())
            done.append((run, Measured(variant=run.variant, way=run.way, part=part, **told)))
        else:
            failed.append(f"{run.variant}, {run.way}: {state.message or state.name or 'failed'}")
    standings = stand([measured for _, measured in done], grid.load(study).halving.keep)
    on = {standing.variant for standing in standings if standing.goes_on}
    for standing in standings:
        LOG.info("%s", f"{'halving':<9} {', '.join(standing.cells())}")
    return Rung(standings=standings, failed=failed, going=[run for run, _ in done if run.variant in on])
