"""A workspace in which toy's sft is planned, without a run: six records with one image each, two steps of three."""

from __future__ import annotations

from pathlib import Path

from tiny import make_shards, png

from tinyllava_core.artifact import make_once
from tinyllava_core.data.mix.spec import mix_spec
from tinyllava_core.data.plan.plan import VERSION, plan, plan_spec
from tinyllava_core.recipe import Recipe, load
from tinyllava_core.results import MixResult, ShardResult

SETTINGS = ("sft.global_batch=3", "sft.max_length=64")


def plan_toy(home: Path) -> Recipe:
    """Leave mix, shards and plan in a workspace; give the recipe that they are of."""
    recipe = load("toy", {"sft.global_batch": 3, "sft.max_length": 64})
    counts = {"num_sources": 2, "num_records": 6, "num_distinct_records": 6, "num_images": 6, "num_text_only": 0}
    counts |= {"num_left_out": 0, "num_duplicates": 0, "num_contaminated": 0}
    mix = MixResult(**counts, seed=42)
    mixed = make_once(home, "mix", 1, mix_spec(recipe, "sft"), {}, lambda _: mix)

    def shard(folder: Path) -> ShardResult:
        make_shards(folder, [([("user", "<image>\nIs it?"), ("assistant", "yes")], [png(n)]) for n in range(6)])
        return ShardResult(num_shards=1, num_records=6, size_bytes=1, sha256="0")

    shards = make_once(home, "shard", 1, {}, {"mix": mixed}, shard)
    spec = plan_spec(recipe, "sft")
    make_once(home, "plan", VERSION, spec, {"shard": shards}, lambda folder: plan(shards.folder, spec, folder))
    return recipe
