"""Means of checkpoints: those of their weights by hand, whatever the checkpoints are, and after a kill the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file
from train.conftest import new_job, tiny_shards

from tinyllava_core.attribute import asked, merge
from tinyllava_core.attribute.asked import Given
from tinyllava_core.attribute.store import outcomes
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.job import MergeJob, TrainJob
from tinyllava_core.train.__main__ import run
from tinyllava_core.why.outcome import Value, value_of

__all__ = ["tiny_shards"]  # a fixture


def given(gold: tuple[str, ...]) -> list[Given]:
    """Ask one question without a picture, which the model answered with "no"."""
    told = Question(question_id=1, image=None, text="Is it a cat?", gold=gold)
    row = {"benchmark": "pope", "question_id": "1", "text": told.text, "answer": "no", "was_right": False}
    return [Given(**row, question=told, images=ImagePlaces())]


@pytest.fixture(scope="module")
def jobs(tiny_parts: Path, tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[TrainJob]:
    """Three trainings from the same parts: at two rates, and of adapters."""
    home = tmp_path_factory.mktemp("experts")
    made = [new_job(tiny_shards, home, name, lr=rate) for name, rate in (("slow", 1e-3), ("fast", 1e-1))]
    lora = {"rank": 2, "alpha": 64, "dropout": 0.0}
    made.append(new_job(tiny_shards, home, "adapted", language={"trainable_from_layer": 0, "lora": lora}))
    for job in made:
        run(job, [False])
    return made


def merging(jobs: list[TrainJob], mixes: list[tuple[float, ...]], out: Path) -> list[Value]:
    out.mkdir(exist_ok=True)
    folders = tuple(job.out / "checkpoint" for job in jobs)
    merge.merge(
        MergeJob(
            stage="sft", recipe=jobs[0].recipe, checkpoints=folders, mixes=tuple(mixes), evaluations=(Path(),), out=out
        )
    )
    assert list(out.glob("plain-*")) == []
    rows = pq.read_table(out / "merged.parquet").to_pylist()
    return [Value(log_probability=row["log_probability"], right=row["right"]) for row in rows]


def measured(checkpoint: Path) -> Value:
    return value_of(outcomes(Answerer(checkpoint), asked.right_answers(Path()), "fp32", torch.device("cpu")))


def test_a_mean_is_that_of_the_weights_and_of_one_alone_its_own(
    jobs: list[TrainJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "given_answers", lambda _: given(("yes",)))
    slow, fast, adapted = jobs
    first, second = (load_file(job.out / "checkpoint" / "model.safetensors") for job in (slow, fast))
    by_hand = {name: (0.25 * first[name].astype(np.float64) + 0.75 * second[name]).astype(np.float32) for name in first}
    shutil.copytree(slow.out / "checkpoint", tmp_path / "by-hand")
    save_file(by_hand, tmp_path / "by-hand" / "model.safetensors")
    found = merging([slow, fast], [(1.0, 0.0), (0.0, 1.0), (0.25, 0.75)], tmp_path / "merged")
    wanted = [measured(folder) for folder in (slow.out / "checkpoint", fast.out / "checkpoint", tmp_path / "by-hand")]
    assert [one.log_probability for one in found] == pytest.approx([one.log_probability for one in wanted], rel=1e-5)
    assert len({round(one.log_probability, 4) for one in found}) == 3
    # adapters are added to the weights before the mean is taken
    alone, whole = merging([slow, adapted], [(0.0, 1.0), (1.0, 0.0)], tmp_path / "with-adapters")
    assert alone.log_probability == pytest.approx(measured(adapted.out / "checkpoint").log_probability, rel=1e-4)
    assert alone.log_probability != pytest.approx(whole.log_probability, rel=1e-4)
    turned, _ = merging([adapted, slow], [(0.0, 1.0), (1.0, 0.0)], tmp_path / "the-other-way")
    assert turned.log_probability == pytest.approx(whole.log_probability, rel=1e-5)


def test_a_killed_merge_goes_on_behind_its_last_mean(
    jobs: list[TrainJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "given_answers", lambda _: given(("yes",)))
    mixes, seen = [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)], []
    whole = merging(jobs[:2], mixes, tmp_path / "whole")
    merging(jobs[:2], mixes[:2], tmp_path / "killed")  # what a kill leaves after the second
    true_put = merge.put_mean
    monkeypatch.setattr(
        merge, "put_mean", lambda held, files, weights: (seen.append(weights), true_put(held, files, weights))
    )
    assert merging(jobs[:2], mixes, tmp_path / "killed") == whole
    assert seen == [(0.0, 1.0)]


def test_a_question_has_the_right_answer_that_most_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "given_answers", lambda _: given(("cat", "dog", "dog")))
    assert [one.answer for one in asked.right_answers(Path())] == ["dog"]
    monkeypatch.setattr(asked, "given_answers", lambda _: given(()))
    with pytest.raises(BadInput, match=r"pope: its right answers are not public.*leave it out of evaluate\.benchmarks"):
        asked.right_answers(Path())
