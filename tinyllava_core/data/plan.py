"""Stage `plan`: lay out every optimizer step of one training stage beforehand. It trains nothing and needs no GPU.

Which records, in which packed sequences, how many tokens, how many of them supervised: training is a function of this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.order import GroupBy, cut_steps, epoch_order
from tinyllava_core.data.prompt import encode
from tinyllava_core.data.read import ShardReader
from tinyllava_core.errors import BadInput
from tinyllava_core.frozen import Frozen
from tinyllava_core.parts import LANGUAGES, VISIONS, tokenizer_folder
from tinyllava_core.recipe import Recipe
from tinyllava_core.results import PlanResult
from tinyllava_core.settings.writing import Writing
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer

VERSION = 2
_CHUNK = 2000  # records tokenized in one call

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
        ("truncated", pa.bool_()),
    ]
)
_VOIDED_SCHEMA = pa.schema(
    [("position", pa.int64()), ("record_id", pa.string()), ("source", pa.string()), ("reason", pa.string())]
)


class PlanSpec(Frozen):
    """Everything besides the shards that decides a plan."""

    stage: str
    tokenizer: str  # folder or hub name, as the language model's row gives it
    tokenizer_sha256: str
    tokens_per_image: int
    prompt: str
    writing: Writing = Writing()
    max_length: int
    global_batch: int
    epochs: int
    group_by: GroupBy | None
    seed: int


@dataclass(slots=True)
class _Lengths:
    """What tokenizing told about each kept record of the shards, column by column."""

    rows: list[int] = field(default_factory=list)  # row of index.parquet
    num_tokens: list[int] = field(default_factory=list)
    num_supervised: list[int] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    voided: list[tuple[int, str]] = field(default_factory=list)  # row, reason


def plan_spec(recipe: Recipe, stage: str) -> PlanSpec:
    """Derive the plan's spec from a recipe. Raises BadInput if the tokenizer cannot be had."""
    training, language = recipe.training(stage), LANGUAGES[recipe.model.language]
    folder = tokenizer_folder(language)
    return PlanSpec(
        stage=stage,
        tokenizer=recipe.model.language,
        tokenizer_sha256=file_sha256(folder / "tokenizer.json"),
        tokens_per_image=VISIONS[recipe.model.vision].num_patches,
        prompt=training.prompt or language.prompt,
        writing=training.writing,
        max_length=training.max_length,
        global_batch=training.global_batch,
        epochs=training.epochs,
        group_by=training.group_by,
        seed=recipe.seed,
    )


def plan(shards: Path, spec: PlanSpec, out: Path) -> PlanResult:
    """Write plan.parquet, steps.parquet and voided.parquet for the shards of one mix.

    Every step takes exactly `global_batch` records, the last one what is left; a record that cannot be trained on at
    `max_length` is kept in voided.parquet under its reason. Raises BadInput if nothing is left to train on.
    """
    reader = ShardReader(shards)
    lengths = measure(reader, spec, load_tokenizer(tokenizer_folder(LANGUAGES[spec.tokenizer])))
    index = reader.index
    _write_voided(index, lengths, out)
    if not lengths.rows:
        raise BadInput(
            f"plan {spec.stage}: none of {len(index)} records can be trained on at max_length {spec.max_length} "
            f"({spec.tokens_per_image} tokens an image); reasons in {out / 'voided.parquet'}; raise {spec.stage}.max_length"
        )
    placed = lay_out(lengths, index.column("num_images").to_numpy(), spec)
    which = placed.pop("which")
    kept = index.select(["position", "record_id", "source", "shard", "place", "num_images"])
    table = kept.take(pa.array(np.asarray(lengths.rows, np.int64)[which]))
    placed["num_tokens"] = np.asarray(lengths.num_tokens, np.int32)[which]
    placed["num_supervised"] = np.asarray(lengths.num_supervised, np.int32)[which]
    placed["truncated"] = np.asarray(lengths.truncated, np.bool_)[which]
    columns = {name: pa.array(placed[name]) if name in placed else table.column(name) for name in PLAN_SCHEMA.names}
    planned = pa.table(columns, schema=PLAN_SCHEMA)
    pq.write_table(planned, out / "plan.parquet")
    steps = _write_steps(planned, out)
    num_packs, num_tokens = pc.sum(steps["num_packs"]).as_py(), int(placed["num_tokens"].sum())
    return PlanResult(
        stage=spec.stage,
        num_steps=len(steps),
        num_records=len(planned),
        num_voided=len(lengths.voided),
        num_truncated=sum(lengths.truncated),
        num_packs=num_packs,
        num_tokens=num_tokens,
        num_supervised=int(placed["num_supervised"].sum()),
        num_images=pc.sum(planned["num_images"]).as_py(),
        padding_fraction=round(1 - num_tokens / (num_packs * spec.max_length), 6),
    )


def lay_out(lengths: _Lengths, num_images: np.ndarray, spec: PlanSpec) -> dict[str, np.ndarray]:
    """Place every kept record in each epoch -> columns step, pack, slot, epoch and `which` of the kept records, by place."""
    rows, tokens = np.asarray(lengths.rows, np.int64), np.asarray(lengths.num_tokens, np.int32)
    has_image = num_images[rows] > 0
    placed: list[tuple[np.ndarray, ...]] = []
    step = 0
    for epoch in range(spec.epochs):
        order = epoch_order(len(rows), epoch, spec.seed)
        for members in cut_steps(order, has_image, tokens, spec.global_batch, spec.group_by, spec.seed):
            for number, places in enumerate(pack(tokens[members], spec.max_length)):
                same = [np.full(len(places), value, np.int32) for value in (step, number, epoch)]
                placed.append((*same, np.arange(len(places), dtype=np.int32), members[places]))
            step += 1
    names = ("step", "pack", "epoch", "slot", "which")
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*placed, strict=True), strict=True)}


def measure(reader: ShardReader, spec: PlanSpec, tokenizer: Tokenizer) -> _Lengths:
    """Tokenize every record once, in the mix's order; the tokens themselves are not kept."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    found = _Lengths()
    for first in range(0, len(reader), _CHUNK):
        rows = range(first, min(first + _CHUNK, len(reader)))
        turns = [reader.turns(row) for row in rows]
        encoded = encode(turns, spec.prompt, tokenizer, spec.tokens_per_image, spec.writing)
        for row, item in zip(rows, encoded, strict=True):
            reason = item.voided(spec.max_length)
            if reason is not None:
                found.voided.append((row, reason))
                continue
            kept = item.cut(spec.max_length)
            found.rows.append(row)
            found.num_tokens.append(len(kept.ids))
            found.num_supervised.append(kept.num_supervised)
            found.truncated.append(len(item.ids) > spec.max_length)
    return found


def pack(tokens: Sequence[int] | np.ndarray, max_length: int) -> list[list[int]]:
    """Pack records into sequences of at most `max_length` tokens: best fit, longest first -> places of each pack.

    Packs come longest first, and a pack's places in the step's order, so that dealing packs out to ranks in turn balances them.
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(tokens)), key=lambda i: (-int(tokens[i]), i)):
        need = int(tokens[place])
        fitting = [(left, number) for number, left in enumerate(room) if left >= need]
        if fitting:
            _, number = min(fitting)
            packs[number].append(place)
            room[number] -= need
        else:
            packs.append([place])
            room.append(max_length - need)
    fullest_first = sorted(range(len(packs)), key=lambda number: (room[number], number))
    return [sorted(packs[number]) for number in fullest_first]


def _write_voided(index: pa.Table, lengths: _Lengths, out: Path) -> None:
    voided = index.select(["position", "record_id", "source"]).take(
        pa.array([row for row, _ in lengths.voided], pa.int64())
    )
    reasons = pa.array([reason for _, reason in lengths.voided], pa.string())
    pq.write_table(voided.append_column("reason", reasons).cast(_VOIDED_SCHEMA), out / "voided.parquet")


def _write_steps(table: pa.Table, out: Path) -> pa.Table:
    sums: list[tuple[str, str]] = [("record_id", "count"), ("pack", "max")]
    sums += [(name, "sum") for name in ("num_tokens", "num_supervised", "num_images")]
    grouped = table.group_by("step").aggregate(sums).sort_by("step")
    steps = pa.table(
        {
            "step": grouped["step"],
            "num_records": grouped["record_id_count"],
            "num_packs": pa.array(grouped["pack_max"].to_numpy() + 1, pa.int32()),
            **{name: grouped[f"{name}_sum"] for name in ("num_tokens", "num_supervised", "num_images")},
        }
    )
    pq.write_table(steps, out / "steps.parquet")
    return steps
