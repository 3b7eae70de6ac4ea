"""Stage `attribution_check`: a store held against retraining. The comparing is done in why/checking.py, the trainings in retrain.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasks.record import record
from tasks.run import Run
from tasks.stage import stage
from tasks.why.retrain import Wanted, retrain
from tinyllava_core.artifact import Artifact, write_aside
from tinyllava_core.results import AttributionCheckResult
from tinyllava_core.why import checking
from tinyllava_core.why.checking import Store

VERSION = 3


@stage("check halves")
def check_halves(run: Run, trained: Artifact, store: Artifact, count: int, orders: int) -> Artifact:
    """Train on random halves of the records, each in several orders, and say how well the store foretells what comes out."""
    opened = Store.read(store.folder)
    left_out = checking.draw_halves(opened, count)
    made, table = _without(run, trained, left_out, orders)
    shards = trained.input_from("shard", run.workspace).folder
    spec = {"what": checking.HALVES, "count": count, "orders": orders}
    return _record(run, store, made, spec, lambda: checking.halves_rows(opened, left_out, table, shards))


@stage("check removal")
def check_removal(
    run: Run,
    trained: Artifact,
    store: Artifact,
    questions: Sequence[tuple[str, str]],
    size: int,
    orders: int,
    draws: int,
) -> Artifact:
    """Train without the first `size` records of each answer, and without as many random ones, in several orders."""
    opened = Store.read(store.folder)
    first = [checking.first_records(store.folder, *question, size) for question in questions]
    sets = [frozenset[str](), *first, *checking.draw_random(opened, size, draws)]
    made, table = _without(run, trained, sets, orders)
    whole, without, random = table[0], table[1 : 1 + len(first)], table[1 + len(first) :]
    spec = {"what": checking.REMOVAL, "questions": list(questions), "size": size, "orders": orders, "draws": draws}
    return _record(
        run, store, made, spec, lambda: checking.removal_rows(opened, questions, whole, without, random, size)
    )


def _without(
    run: Run, trained: Artifact, sets: Sequence[frozenset[str]], orders: int
) -> tuple[list[Artifact], list[list[Path]]]:
    """Train without each set of records, in the training's own order and others behind it -> trainings; their folders by set and order."""
    own = run.recipe.training(trained.stage).order
    made = retrain.fn(
        run, trained, [Wanted(order=own + number, void=gone) for gone in sets for number in range(orders)]
    )
    return made, [[one.folder for one in made[at : at + orders]] for at in range(0, len(made), orders)]


def _record(
    run: Run, store: Artifact, made: Sequence[Artifact], spec: dict[str, Any], rows: Callable[[], list[dict[str, Any]]]
) -> Artifact:
    def make(folder: Path) -> AttributionCheckResult:
        found = rows()
        write_aside(folder / "checks.jsonl", "".join(json.dumps(row) + "\n" for row in found))
        return AttributionCheckResult(what=spec["what"], num_rows=len(found), num_trainings=len(set(made)))

    inputs = {"store": store, **{f"training {number}": one for number, one in enumerate(made)}}
    name = f"{spec['what']} {store.fingerprint[:8]}"
    return record(run, "attribution_check", name, VERSION, spec, inputs, make)
