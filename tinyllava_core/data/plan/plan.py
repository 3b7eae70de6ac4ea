"""Stage `plan`: lay out every optimizer step of one training stage beforehand. It trains nothing and needs no GPU.

Which records, in which packed sequences, how many tokens, how many of them supervised: training is a function of this.
The tokens of each tar are counted on their own (plan_part.py); the layout itself is a matter of seconds.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.plan.held_out import held_out
from tinyllava_core.data.plan.order import cut_steps, epoch_order
from tinyllava_core.data.plan.pack import pack
from tinyllava_core.data.plan.part import Lengths, PlanSpec, PlanWork, plan_part, read_lengths
from tinyllava_core.data.plan.sort import Sort
from tinyllava_core.data.plan.void import NOTHING, Void, num_void
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.parts import language_row, prompt_of, tokenizer_folder
from tinyllava_core.recipe import Recipe
from tinyllava_core.results import PlanResult
from tinyllava_core.workers import RunParts, num_cpus, run_parts

VERSION = 5
_WORTH_A_PROCESS = 20_000  # records; fewer are counted sooner than a process has started

PLAN_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("pack", pa.int32()),
        ("slot", pa.int32()),
        ("epoch", pa.int32()),
        ("position", pa.int64()),
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("shard", pa.int32()),
        ("place", pa.int32()),
        ("num_tokens", pa.int32()),
        ("num_supervised", pa.int32()),
        ("num_images", pa.int16()),
        ("num_tiles", pa.int32()),
        ("truncated", pa.bool_()),
    ]
)
_SUMS = ("num_tokens", "num_supervised", "num_images", "num_tiles")  # of a step
_VOIDED_SCHEMA = pa.schema(
    [("position", pa.int64()), ("record_id", pa.string()), ("source", pa.string()), ("reason", pa.string())]
)


def plan_spec(recipe: Recipe, stage: str, void: Void = NOTHING, sort: Sort | None = None) -> PlanSpec:
    """Derive the plan's spec from a recipe; `void`, `sort`: what its fields of these names name. Raises BadInput if the tokenizer cannot be had."""
    folder = tokenizer_folder(language_row(recipe.model.language))
    tokenizer_sha256 = file_sha256(folder / "tokenizer.json")
    hashes = {"void_sha256": void.sha256, "sorted_sha256": sort.sha256 if sort else None}
    return PlanSpec(tokenizer_sha256=tokenizer_sha256, **hashes, **spec_choices(recipe, stage))


def version_of(spec: PlanSpec) -> int:
    """Give the version of the code that lays a plan out. What is held out was chosen otherwise once: by images alone."""
    return VERSION + (spec.held_out > 0)


def spec_choices(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Give what a recipe says of a plan: its spec, but for the tokenizer's own bytes."""
    training = recipe.training(stage)
    return {
        "stage": stage,
        "tokenizer": recipe.model.language,
        "tokens_per_image": recipe.model_in(stage).tokens_per_image,
        "scheme": None if (scheme := recipe.model_in(stage).scheme).is_fixed else dataclasses.asdict(scheme),
        "max_record_tiles": recipe.model.tiling.max_record_tiles,
        "prompt": prompt_of(training.prompt, language_row(recipe.model.language)),
        "writing": training.writing,
        "max_length": training.max_length,
        "pack_length": training.pack_length or training.max_length,
        "global_batch": training.global_batch,
        "epochs": training.epochs,
        "group_by": training.group_by,
        "held_out": training.held_out,
        **({"order": training.order} if training.order else {}),
        "seed": recipe.seed,
    }


def plan(
    shards: Path,
    spec: PlanSpec,
    out: Path,
    *,
    void: Void = NOTHING,
    sort: Sort | None = None,
    processes: int | None = None,
    run_parts: RunParts = run_parts,
    on_progress: Callable[[Progress], None] | None = None,
) -> PlanResult:
    """Write plan.parquet, steps.parquet and voided.parquet for the shards of one mix.

    Every step takes exactly `global_batch` records, the last one what is left; a record that cannot be trained on at
    `max_length` is kept in voided.parquet under its reason. `out` may hold what a killed life left: tars whose tokens are
    counted are not counted again. Raises BadInput if nothing is left to train on.
    """
    work = prepare(shards, spec, out)
    total, done = work.first_rows[-1], 0
    if processes is None:
        processes = min(num_cpus(), 1 + total // _WORTH_A_PROCESS)
    for number, _ in run_parts(partial(plan_part, work), range(len(work.first_rows) - 1), processes):
        done += work.first_rows[number + 1] - work.first_rows[number]
        if on_progress:
            on_progress(Progress(done=done, total=total, unit="records", note=f"shard {number}"))
    return merge(work, void, sort)


def prepare(shards: Path, spec: PlanSpec, out: Path) -> PlanWork:
    """Find out which rows of the index are which tar's."""
    (out / "parts").mkdir(parents=True, exist_ok=True)
    shard = pq.read_table(shards / "index.parquet", columns=["shard"])["shard"].to_numpy()
    first_rows = np.searchsorted(shard, np.arange(int(shard[-1]) + 2 if len(shard) else 1))  # the index is in order
    return PlanWork(shards=shards, spec=spec, out=out, first_rows=tuple(first_rows.tolist()))


def merge(work: PlanWork, void: Void = NOTHING, sort: Sort | None = None) -> PlanResult:
    """Lay out all steps from the counted tokens, and take the scaffolding away."""
    spec, out, lengths = work.spec, work.out, read_lengths(work)
    columns = ["position", "record_id", "source", "shard", "place", "num_images"]
    index = pq.read_table(work.shards / "index.parquet", columns=columns)
    _write_voided(index, lengths, out)
    if not len(lengths.rows):
        raise BadInput(
            f"plan {spec.stage}: none of {len(index)} records can be trained on at max_length {spec.max_length} "
            f"({spec.tokens_per_image} tokens {'an image' if spec.scheme is None else 'a tile'}); reasons in {out / 'voided.parquet'}; raise {spec.stage}.max_length"
        )
    kept_out = _hold_out(work, index, lengths)
    void.check_in(index["record_id"])
    planned, steps = _write_layout(index, lengths.only(~kept_out), spec, out, void, sort)
    shutil.rmtree(out / "parts")
    packs, longest = steps["num_packs"].to_numpy(), steps["longest_pack"].to_numpy()
    num_tokens = pc.sum(planned["num_tokens"]).as_py()
    return PlanResult(
        stage=spec.stage,
        num_steps=len(steps),
        num_records=len(planned),
        num_voided=len(lengths.voided_rows),
        num_truncated=pc.sum(planned["truncated"]).as_py(),
        num_held_out=int(kept_out.sum()),
        num_void=num_void(planned),
        num_packs=int(packs.sum()),
        num_tokens=num_tokens,
        num_supervised=pc.sum(planned["num_supervised"]).as_py(),
        num_images=pc.sum(planned["num_images"]).as_py(),
        num_tiles=pc.sum(planned["num_tiles"]).as_py(),
        padding_fraction=round(1 - num_tokens / int((packs.astype(np.int64) * longest).sum()), 6),
    )


def _hold_out(work: PlanWork, index: pa.Table, lengths: Lengths) -> np.ndarray:
    """Choose the records to measure on and lay them out in held_out/, as steps of their own -> [kept records] bool."""
    if not work.spec.held_out:
        return np.zeros(len(lengths.rows), bool)
    images = pq.read_table(work.shards / "index.parquet", columns=["image_sha256"])["image_sha256"]
    rows = pa.array(lengths.rows)
    chosen = held_out(index["record_id"].take(rows), images.take(rows), work.spec.held_out, work.spec.seed)
    if chosen.any():
        (home := work.out / "held_out").mkdir(exist_ok=True)
        once = work.spec.model_copy(update={"epochs": 1, "group_by": None, "order": 0})
        _write_layout(index, lengths.only(chosen), once, home)
    return chosen


def _write_layout(
    index: pa.Table, lengths: Lengths, spec: PlanSpec, out: Path, void: Void = NOTHING, sort: Sort | None = None
) -> tuple[pa.Table, pa.Table]:
    """Lay records out and write plan.parquet and steps.parquet; give both."""
    value = sort.of(index["record_id"].take(pa.array(lengths.rows))) if sort else None
    placed = lay_out(lengths, index["num_images"].to_numpy(), spec, value)
    which = placed.pop("which")
    table = index.take(pa.array(lengths.rows[which]))
    for name in ("num_tokens", "num_supervised", "num_tiles", "truncated"):
        placed[name] = getattr(lengths, name)[which]
    planned = pa.table(
        {name: pa.array(placed[name]) if name in placed else table.column(name) for name in PLAN_SCHEMA.names},
        schema=PLAN_SCHEMA,
    )
    return write_plan(void.of(planned), out)


def write_plan(planned: pa.Table, out: Path) -> tuple[pa.Table, pa.Table]:
    """Write the places of a plan, and its steps as sums of them; give both."""
    pq.write_table(planned, out / "plan.parquet")
    return planned, _write_steps(planned, out)


def lay_out(
    lengths: Lengths, num_images: np.ndarray, spec: PlanSpec, value: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Place every kept record in each epoch -> columns step, pack, slot, epoch and `which` of the kept records, by place.

    `value`: what each is sorted by, the lowest first, NaN last; None: in the spec's order alone.
    """
    count, tokens = len(lengths.rows), lengths.num_tokens
    has_image = num_images[lengths.rows] > 0
    placed = {name: np.empty(count * spec.epochs, np.int32) for name in ("step", "pack", "slot", "epoch")}
    placed["which"] = np.empty(count * spec.epochs, np.int64)
    step = start = 0
    for epoch in range(spec.epochs):
        order = epoch_order(count, epoch, spec.seed, spec.order)
        if value is not None:
            order = order[np.argsort(value[order], kind="stable")]
        for members in cut_steps(order, has_image, tokens, spec.global_batch, spec.group_by, spec.seed):
            packs = pack(tokens[members], spec.pack_length)
            sizes = np.fromiter(map(len, packs), np.int32, len(packs))
            mine = slice(start, start + len(members))
            placed["step"][mine], placed["epoch"][mine] = step, epoch
            placed["pack"][mine] = np.repeat(np.arange(len(packs)), sizes)
            placed["slot"][mine] = np.arange(len(members)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            placed["which"][mine] = members[np.concatenate(packs)]
            step, start = step + 1, mine.stop
    return placed


def _write_voided(index: pa.Table, lengths: Lengths, out: Path) -> None:
    voided = index.select(["position", "record_id", "source"]).take(pa.array(lengths.voided_rows))
    pq.write_table(voided.append_column("reason", lengths.voided_reasons).cast(_VOIDED_SCHEMA), out / "voided.parquet")


def _write_steps(table: pa.Table, out: Path) -> pa.Table:
    by_pack = table.group_by(["step", "pack"]).aggregate([("num_tokens", "sum")])
    longest = by_pack.group_by("step").aggregate([("num_tokens_sum", "max")]).sort_by("step")["num_tokens_sum_max"]
    sums: list[tuple[str, str]] = [("record_id", "count"), ("pack", "max")]
    sums += [(name, "sum") for name in _SUMS]
    grouped = table.group_by("step").aggregate(sums).sort_by("step")
    steps = pa.table(
        {
            "step": grouped["step"],
            "num_records": grouped["record_id_count"],
            "num_packs": pa.array(grouped["pack_max"].to_numpy() + 1, pa.int32()),
            "longest_pack": longest,
            **{name: grouped[f"{name}_sum"] for name in _SUMS},
        }
    )
    pq.write_table(steps, out / "steps.parquet")
    return steps
