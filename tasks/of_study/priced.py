"""What a study will take, before anything runs: `python -m tasks.of_study.priced STUDY` is behind `tinyllava study STUDY --plan`.

A training stage that two variants have in common, by all that decides its weights, is made once: it is priced once.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.record import spec_of
from tasks.train import HOW, train_spec
from tinyllava_core.commands.arguments import add_format, add_gpu, add_overrides, add_workspace, check_utilisation
from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.cached import find_plan
from tinyllava_core.estimate.gpus import gpu_row
from tinyllava_core.estimate.stage import estimate
from tinyllava_core.evaluate.compare.power import Plan, smallest_difference
from tinyllava_core.intact import finished
from tinyllava_core.recipe import Recipe, read_overrides
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.show import show
from tinyllava_core.study import grid
from tinyllava_core.study.grid import Planned, Study
from tinyllava_core.study.halving import Halving, num_left

BYTES_A_WEIGHT = 4  # a checkpoint holds fp32


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """One training stage of one run of a study."""

    variant: str
    seed: int
    stage: str
    state: str  # "new", "done" (it is in the workspace), or "shared" (an earlier variant makes it)
    gpu_hours: float  # that this run adds: 0 unless new
    disk_bytes: float  # of its checkpoint; 0 unless new


def price(planned: Sequence[Planned], workspace: Path, peak: float, utilisation: float) -> list[Priced]:
    """Price every stage of every run, in their order. `peak`: operations a second of one GPU; `utilisation`: the part reached."""
    found, seen = [], set()
    for run in planned:
        recipe = load_recipe(run.recipe, run.overrides)
        key, start = "", None  # of the stage before; the fingerprint of its artifact, if it is there
        for stage in recipe.stages():
            key = _key(recipe, stage, key)
            plan = find_plan(workspace, recipe, stage)
            start = _made(workspace, recipe, stage, plan, start) if stage == recipe.stages()[0] or start else None
            state = "shared" if key in seen else "done" if start else "new"
            seen.add(key)
            hours = size = 0.0
            if state == "new":
                one = estimate(recipe, stage, plan)
                hours = one.gpu_hours(peak, utilisation)
                size = float(BYTES_A_WEIGHT * sum(part.num_parameters for part in one.parts))
            found.append(
                Priced(variant=run.variant, seed=run.seed, stage=stage, state=state, gpu_hours=hours, disk_bytes=size)
            )
    return found


def _key(recipe: Recipe, stage: str, before: str) -> str:
    """Name a stage's weights by all that decides them: model, data, order, optimizer, seed, and the stage before."""
    training = recipe.training(stage).model_dump(mode="json", exclude=HOW)
    text = json.dumps([stage, recipe.model_in(stage).model_dump(mode="json"), training, recipe.seed, recipe.start, before], sort_keys=True)  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()


def _made(workspace: Path, recipe: Recipe, stage: Any, plan: Path | None, start: str | None) -> str | None:
    """Find the finished training of this stage by this plan in the workspace -> its fingerprint."""
    training = recipe.training(stage)
    if training.void is not None or training.sort_by is not None:  # which records are meant is known to the run alone
        return None
    if plan is None or recipe.start is not None:  # what it starts from, likewise
        return None
    spec = spec_of(stage, train_spec(recipe, stage))
    for folder, told in finished(workspace / "artifacts" / stage):
        if (told["spec"], told["inputs"].get("plan"), told["inputs"].get("start")) == (spec, plan.name, start):
            return folder.name
    return None


def detectable(study: Study, benchmarks: Sequence[str], num_variants: int) -> Iterator[tuple[str, int | None, float | None]]:  # fmt: skip
    """Give for each benchmark its questions and the smallest difference, in points, that two variants can show on it.

    Corrected for every variant against the first on every benchmark; one question to a picture; None: no count is stated.
    """
    for name in benchmarks:
        manifest = load_manifest(name)
        count = (manifest.annotations.count if manifest.annotations else None) or manifest.about_records
        asked = max(1, (num_variants - 1) * len(benchmarks))
        plan = Plan(num_questions=count, seeds=len(study.seeds), num_benchmarks=asked) if count else None
        yield name, count, smallest_difference(plan) if plan else None


def main(words: Sequence[str]) -> None:
    """Print the three tables: stages, sum and budget, what the benchmarks can show."""
    parser = argparse.ArgumentParser(prog="tinyllava study --plan")
    parser.add_argument("study", nargs="?")
    add_gpu(parser)
    parser.add_argument("--budget", type=float, metavar="GPU_HOURS")
    parser.add_argument("--halving", action="store_true")
    add_overrides(parser)
    add_workspace(parser)
    add_format(parser)
    args = parser.parse_args(words)
    check_utilisation(args)
    peak = gpu_row(args.gpu).peak
    if args.study is None:
        overview(args.workspace, peak, args)
        return
    study = grid.load(args.study)
    planned = grid.runs(study, read_overrides(args.set), args.halving)
    rows = price(planned, args.workspace, peak, args.utilisation)
    show(("variant", "seed", "stages", f"{args.gpu}-hours", "checkpoint GB"), list(_by_run(rows)), args.format)
    if args.format != "table":
        return
    print(_sum(rows, args.gpu))
    if args.halving:
        print(halved(rows, study.halving, args.gpu))
    if args.budget is not None:
        print(_budget(rows, args.budget))
    recipe = load_recipe(planned[0].recipe, planned[0].overrides)
    print()
    shown = detectable(study, recipe.evaluate.benchmarks, len(study.all_variants()))
    show(("benchmark", "questions", "smallest difference"), [(name, count, "unknown" if least is None else f"{least:.1f} points") for name, count, least in shown])  # fmt: skip
    print(
        "Found in 80 of 100 such studies at 5 %, Holm over all pairs with the first; one training a side adds its own spread."
    )


def overview(workspace: Path, peak: float, args: argparse.Namespace) -> None:
    """Print a line for every study that comes with the package: what it asks, its variants, its stages, its price."""
    rows = []
    for name in grid.known_studies():
        study = grid.load(name)
        priced = price(grid.runs(study, read_overrides(args.set)), workspace, peak, args.utilisation)
        hours = round(sum(row.gpu_hours for row in priced), 1)
        rows.append((name, study.description, len(study.all_variants()), _states(priced), hours))
    show(("study", "what it asks", "variants", "stages", f"{args.gpu}-hours"), rows, args.format)


def _by_run(rows: Sequence[Priced]) -> Iterator[tuple[str, int, str, float, float]]:
    """Put the stages of each run on one line."""
    for (variant, seed), found in itertools.groupby(rows, key=lambda row: (row.variant, row.seed)):
        run = list(found)
        stages = ", ".join(f"{row.stage} {row.state}" for row in run)
        hours, size = sum(row.gpu_hours for row in run), sum(row.disk_bytes for row in run)
        yield variant, seed, stages, round(hours, 2), round(size / 1e9, 1)


def _sum(rows: Sequence[Priced], gpu: str) -> str:
    hours, size = sum(row.gpu_hours for row in rows), sum(row.disk_bytes for row in rows)
    return f"\n{len(rows)} stages: {_states(rows)}; {hours:,.1f} {gpu}-hours, {size / 1e9:,.1f} GB of checkpoints"


def halved(rows: Sequence[Priced], halving: Halving, gpu: str) -> str:
    """Say what successive halving would take at least and at most: where all variants compare, whichever of them go on.

    A stage before the last is trained whole by all; of the last one a variant takes the part up to its cut.
    """
    last = {row.variant: row.stage for row in rows}  # the rows of a run are in the order of its stages
    hours = sorted(sum(row.gpu_hours for row in rows if (row.variant, row.stage) == of) for of in last.items())
    before = sum(row.gpu_hours for row in rows) - sum(hours)
    left, parts = list(num_left(len(last), halving)), (0.0, *halving.at, 1.0)
    steps = [(high - low, count) for low, high, count in zip(parts[:-1], parts[1:], left, strict=True)]
    least = before + sum(part * sum(hours[:count]) for part, count in steps)
    most = before + sum(part * sum(hours[len(hours) - count :]) for part, count in steps)
    cuts = ", ".join(f"{count} go on after {part:.0%}" for part, count in zip(halving.at, left[1:], strict=True))
    return (
        f"with halving: {least:,.1f} to {most:,.1f} {gpu}-hours, by which go on; of {len(last)} variants {cuts}. "
        "Variants whose data or tokens differ are not compared: then more go on"
    )


def _states(rows: Sequence[Priced]) -> str:
    states = [row.state for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in ("new", "shared", "done") if state in states)


def _budget(rows: Sequence[Priced], budget: float) -> str:
    """Say which variants a budget has room for, in the study's order: a variant is in it with all its seeds, or out."""
    kept: list[str] = []
    left: list[str] = []
    room = budget
    for variant in dict.fromkeys(row.variant for row in rows):
        hours = sum(row.gpu_hours for row in rows if row.variant == variant)
        if not left and hours <= room:
            kept.append(variant)
            room -= hours
        else:
            left.append(variant)
    said = f"a budget of {budget:g} hours has room for: {'; '.join(kept) or 'none'}"
    return said + (f"\nnot for: {'; '.join(left)}" if left else "")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BadInput as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
