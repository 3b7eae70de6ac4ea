"""A search over mixes from its experts to its table, on a training of 22 records: what is trained, how often, and what is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attribute.test_merge import given

from tasks.run import Run
from tasks.why import mixes as search
from tasks.why import retrain as retraining
from tinyllava_core.artifact import Artifact
from tinyllava_core.attribute import asked
from tinyllava_core.attribute.merge import merge as merge_now
from tinyllava_core.attribute.retrain import retrain as retrain_now
from tinyllava_core.job import MergeJob, RetrainJob
from tinyllava_core.results import MergeResult, MixSearchResult, RetrainResult
from tinyllava_core.study.grid import Study

MIXES = {"by": "component", "records": 8, "expert_records": 6, "draws": 4, "trained": 3, "confirm": 1}
STUDY = {"name": "mine", "recipe": "toy", "orders": [0, 1, 2], "mixes": MIXES}


def test_experts_foretell_and_the_best_is_trained_in_every_order_beside_the_mix_as_it_is(
    trained: tuple[Run, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, training = trained
    done: list[list[RetrainJob]] = []

    def launch(job: RetrainJob, how: Any, title: str, *more: RetrainJob) -> None:
        done.append([job, *more])
        for one in (job, *more):
            retrain_now(one)

    def merge_here(job: MergeJob, how: Any, title: str) -> None:
        merge_now(job)

    def evaluations(*_: Any) -> Sequence[Artifact]:
        return [training]  # its questions are given below

    monkeypatch.setattr(asked, "given_answers", lambda _: given(("yes",)))
    monkeypatch.setattr(retraining, "launch", launch)
    monkeypatch.setattr(search, "launch", merge_here)
    for module in (search, retraining):
        monkeypatch.setattr(module, "evaluations_of", evaluations)
    begun = search.Search(run, training, Study.parse(STUDY, "mine"))
    merged = search.merge.fn(begun)
    assert merged.result(MergeResult).num_checkpoints == 2
    assert [(len(job.only or ()), job.keep_weights, job.answers) for job in done[0]] == [(6, True, "right")] * 2
    assert all({int(name[-1]) % 2 for name in job.only or ()} == {side} for side, job in enumerate(done[0]))
    found = search.confirm.fn(begun, merged)
    confirmed = [job for job in done[1] if not job.keep_weights]
    assert {len(job.only or ()) for jobs in done[1:] for job in jobs} == {8}
    assert len(confirmed) == 6  # the mix as it is, and the best, each in three orders
    assert len({job.train.plan for job in confirmed}) == 3
    result = found.result(MixSearchResult)
    assert (result.num_groups, result.num_mixes, result.num_orders, result.num_trained) == (2, len(begun.mixes), 3, 3)
    rows = [json.loads(line) for line in (found.folder / "mixes.jsonl").read_text().splitlines()]
    assert sorted(row["num_orders"] for row in rows if row["num_orders"] > 1) == [3, 3]
    assert rows[0]["trained_log_probability"] < 0
    assert (found.folder / "mixes.md").read_text().count("over 3 orders") == 1
    for file in Path(run.workspace, "artifacts", "retrain").glob("[0-9a-f]*"):
        one = Artifact(stage="retrain", fingerprint=file.name, folder=file)
        assert one.result(RetrainResult).num_steps == 2  # equally many records, equally many steps
    before = len(done)
    search.confirm.fn(begun, search.merge.fn(begun))
    assert len(done) == before  # nothing is trained twice
