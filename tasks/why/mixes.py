"""Stages `merge` and `mix_search`: mixes foretold by merged experts, the best of them trained in several orders. Drawn in study/mixes.py."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.evaluate import one_process
from tasks.record import record
from tasks.run import Run
from tasks.running.launch import launch
from tasks.running.progress import LOG
from tasks.stage import stage
from tasks.why.retrain import Wanted, retrain, start_of
from tinyllava_core.artifact import Artifact, write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.job import MergeJob, read_result
from tinyllava_core.results import MergeResult, MixSearchResult
from tinyllava_core.study import grid, mixes, searched
from tinyllava_core.study.grid import Study
from tinyllava_core.study.mixes import DRAWN, Group, Mix, MixSearch
from tinyllava_core.why.found import evaluations_of
from tinyllava_core.why.outcome import value_in, values_in

VERSION = 1


@dataclass(frozen=True, eq=False)  # no slots: what is read once is kept
class Search:
    """A search over the mixes of one training's records."""

    run: Run
    trained: Artifact
    study: Study

    @property
    def asked(self) -> MixSearch:
        return self.study.searching

    @cached_property
    def groups(self) -> list[Group]:
        plan, shards = (self.trained.input_from(name, self.run.workspace) for name in ("plan", "shard"))
        return mixes.groups_of(plan.folder, shards.input_from("mix", self.run.workspace).folder, self.asked)

    @cached_property
    def mixes(self) -> list[Mix]:
        return mixes.mixes_of(self.asked, self.groups)

    @cached_property
    def start(self) -> list[Artifact]:
        """Give the checkpoint of no records, which Shapley values are counted from."""
        if not self.asked.shapley:
            return []
        if (found := start_of(self.trained, self.run.workspace)) is None:
            raise BadInput(
                "mixes.shapley: the stage begins with the parts' own weights; give the recipe a pretrain or a start"
            )
        return [found]

    def train(self, places: Sequence[int], orders: Sequence[int]) -> list[list[Artifact]]:
        """Train some mixes, each in some orders -> [mixes][orders]."""
        sets = [mixes.records_of(self.mixes[place], self.groups) for place in places]
        wanted = [Wanted(order=order, only=one, answers="right") for one in sets for order in orders]
        made = retrain.fn(self.run, self.trained, wanted)
        return [made[at : at + len(orders)] for at in range(0, len(made), len(orders))]


def search(run: Run, trained: Artifact, study: str) -> Search:
    """Begin a study's search on the training of its recipe. Raises BadInput if it has no section `mixes`."""
    return Search(run, trained, grid.load(study))


@stage("merge")
def merge(search: Search) -> Artifact:
    """Train an expert on each group alone, and measure the mean of them that stands for each mix."""
    run, most = search.run, search.asked.expert_records
    wanted = [
        Wanted(order=search.study.orders[0], only=frozenset(group.records[:most]), answers="right", keep_weights=True)
        for group in search.groups
    ]
    experts = [*retrain.fn(run, search.trained, wanted), *search.start]
    evaluations = evaluations_of(run.workspace, search.trained)
    weights = [(*mix.shares, *([float(not sum(mix.counts))] if search.start else [])) for mix in search.mixes]

    def make(folder: Path) -> MergeResult:
        job = MergeJob(
            stage=search.trained.stage,  # type: ignore[arg-type]  # it is a training's
            recipe=run.recipe,
            checkpoints=tuple(one.folder / "checkpoint" for one in experts),
            mixes=tuple(weights),
            evaluations=tuple(one.folder for one in evaluations),
            out=folder,
        )
        launch(job, one_process(run.recipe.launch), "merge")
        return read_result(folder, "merge", MergeResult)

    spec = {"mixes": weights, "precision": run.recipe.training(search.trained.stage).precision}
    inputs = {f"expert {number}": one for number, one in enumerate(experts)}
    inputs |= {f"answers {number}": one for number, one in enumerate(evaluations)}
    return record(run, "merge", search.study.name, MergeJob.VERSION, spec, inputs, make, resumable=True)


@stage("mix_search")
def confirm(search: Search, merged: Artifact) -> Artifact:
    """Train drawn mixes in one order, to hold the merges against, and the best in all; say what was shown."""
    orders, foretold = search.study.orders, values_in(merged.folder / "merged.parquet")
    best = searched.best_of(search.mixes, foretold, search.asked.confirm)
    drawn = [place for place, mix in enumerate(search.mixes) if mix.kind == DRAWN][: search.asked.trained]
    places = [0, *best]
    made = dict(zip(places, search.train(places, orders), strict=True))
    single = [place for place in drawn if place not in made]
    made |= dict(zip(single, search.train(single, orders[:1]), strict=True))

    def make(folder: Path) -> MixSearchResult:
        trained = {place: [value_in(one.folder) for one in rows] for place, rows in made.items()}
        found = searched.searched(search.mixes, foretold, trained, best)
        values = searched.shapley_of(found, search.groups, search.asked.shapley)
        rows = searched.rows_of(found, search.groups, values)
        write_aside(folder / "mixes.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        told = searched.foretold(found, search.asked.trained)
        write_aside(folder / "mixes.md", searched.page(found, search.groups, values, told, len(orders)))
        return MixSearchResult(
            num_groups=len(search.groups),
            num_mixes=len(search.mixes),
            num_records=search.asked.records,
            num_trained=len(single) + len([place for place in drawn if place in best]),
            num_orders=len(orders),
            foretold=told.rank if told else None,
            attainable=told.reached if told else None,
            num_shown=sum(one.gain is not None and one.gain.verdict == searched.SHOWN for one in found),
        )

    spec = {
        "mixes": [dataclasses.asdict(mix) for mix in search.mixes],
        "shapley": search.asked.shapley,
        "orders": orders,
    }
    inputs = {"merged": merged}
    inputs |= {
        f"{search.mixes[place].name} {number}": one for place, rows in made.items() for number, one in enumerate(rows)
    }
    done = record(search.run, "mix_search", search.study.name, VERSION, spec, inputs, make)
    for line in (done.folder / "mixes.md").read_text().splitlines():
        LOG.info("%s", line)
    LOG.info("mixes     %s", done.folder / "mixes.md")
    return done
