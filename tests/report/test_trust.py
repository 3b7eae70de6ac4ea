"""The timeline of a run, what it cost, what it shares with its benchmarks, and what others published."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_run import MadeUp, lines, made_up_run

from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.recipe import load
from tinyllava_core.report.facts import StageRow
from tinyllava_core.report.gantt import draw_gantt, timeline
from tinyllava_core.report.scores import Measured, ScoreRow
from tinyllava_core.report.trust import CostRow, cost_rows, published_rows, shared_rows, subscores
from tinyllava_core.settings.condition import BLIND

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def row(stage: str, made: bool, seconds: float) -> StageRow:
    return StageRow(stage=stage, name="", fingerprint=stage, made=made, seconds=seconds, size_bytes=1, inputs=())


def test_the_timeline_tells_what_was_spent_and_what_was_saved(run: MadeUp):
    """mix found at 0 s (once made in 50), shard from 2 to 12, plan from 5 to 9: 12 s in all, 14 of work, 50 saved."""
    times = {("mix", ""): (0, 0.1), ("shard", ""): (2, 10.0), ("plan", ""): (5, 4.0)}
    facts = dataclasses.replace(
        run.facts(), times={key: (BEGAN + timedelta(seconds=at), took) for key, (at, took) in times.items()}
    )
    found = timeline(facts, [row("shard", True, 10), row("mix", False, 50), row("plan", True, 4), row("old", True, 1)])
    assert [bar.row.stage for bar in found.bars] == ["mix", "shard", "plan"]
    assert (found.total, found.worked, found.saved, found.num_cached) == (12.0, 14.0, 50.0, 1)
    assert found.idle == pytest.approx(1.9), "from the end of mix to the beginning of shard"
    drawn = ElementTree.fromstring(draw_gantt(found))
    widths = [float(bar.get("width") or 0) for bar in drawn.iter("rect")]
    assert widths[0] / widths[1] == pytest.approx(2.5, rel=0.01)
    assert "cached; its making took 50 s" in (drawn.findtext(".//title") or "")
    assert draw_gantt(timeline(run.facts(), [row("mix", True, 1)])) == ""


def test_what_a_run_cost_is_told_in_device_hours_and_energy_only_for_gpus(run: MadeUp):
    """The made-up stages took 63 s each on one CPU."""
    pretrain, sft, evaluate = cost_rows(run.facts())
    assert (pretrain.what, pretrain.hours, pretrain.kilowatt_hours) == ("pretrain", 63 / 3600, None)
    assert (sft.num_devices, evaluate.what) == (1, "evaluate, 32 answers")
    gpus = CostRow(what="sft", device="cuda", num_devices=8, hours=10.0)
    assert (gpus.device_hours, gpus.kilowatt_hours) == (80.0, 56.0)


def test_what_was_found_cost_what_its_making_did(run: MadeUp):
    facts = run.facts()
    found = [(stage, name, dataclasses.replace(artifact, made=False)) for stage, name, artifact in facts.stages]
    times = {("evaluate", name): (BEGAN, 0.1) for stage, name, _ in found if stage == "evaluate"}
    again = dataclasses.replace(facts, stages=found, times=times)
    assert cost_rows(again) == cost_rows(facts)


def test_shared_pictures_are_counted_by_the_way_they_are_equal(tmp_path: Path):
    run = made_up_run(tmp_path)
    mix = run.facts().one("mix", "sft")
    assert mix is not None
    pairs = [
        ("r1", "a.jpg", "b.png", "looks", 3, False),
        ("r2", "c.jpg", "b.png", "looks", 7, True),
        ("r3", "d.jpg", "b.png", "bytes", None, False),
    ]
    names = ("record_id", "image", "benchmark_image", "how", "distance", "dropped")
    rows = [{"benchmark": "toy-pope", **dict(zip(names, pair, strict=True))} for pair in pairs]
    pq.write_table(pa.Table.from_pylist(rows), mix.folder / "contamination.parquet")
    first, second = shared_rows(run.facts())
    assert (first.way, first.num_pictures, first.num_records, first.farthest) == ("bytes", 1, 1, None)
    assert (second.way, second.num_pictures, second.num_records, second.num_dropped, second.farthest) == (
        "looks",
        1,
        2,
        1,
        7,
    )
    assert second.example == "a.jpg = b.png"


def test_published_scores_stand_beside_those_of_the_same_model(run: MadeUp):
    """TinyLLaVA-3.1B, share: GQA 61.97 in the authors' log. Ours is made up: 62.5 ± 0.5 is 0.53 above it, within 1.96 √2 0.5."""
    measured = ScoreRow(
        benchmark="gqa-testdev", metric="accuracy", seen=Measured(score=62.5, stderr=0.5), blind=None, num_questions=9, num_unparsed=0
    )  # fmt: skip
    facts = dataclasses.replace(run.facts(), recipe=load("share"))
    (found, *_) = published_rows(facts, [measured])
    assert found.difference == pytest.approx(62.5 - found.published)
    assert 60 < found.published < 64
    assert found.where
    assert published_rows(run.facts(), [measured]) == []


def test_the_numbers_behind_a_headline_are_told_without_it(tmp_path: Path):
    run = made_up_run(tmp_path)
    (_, artifact), *_ = run.facts().of("evaluate")
    lines(artifact.folder / "subscores.jsonl", [{"name": "accuracy", "n": 8}, {"name": "yes_ratio", "n": 8}])
    assert subscores(run.facts()) == {"toy-pope": [{"name": "yes_ratio", "n": 8}]}


def test_what_pictures_are_worth_is_more_than_nothing_where_they_help_also_where_lower_is_better():
    """CHAIR: 20 % of the things named are not there with the picture, 60 % without: it is worth 40 points, not -40."""
    blind = Difference(
        benchmark="chair", metric="chair_i", first=20, second=60, difference=40, stderr=5, ci_low=30, ci_high=50,
        p_value=0.01, p_holm=0.01, num_questions=8, num_clusters=8, lower_is_better=True,
    )  # fmt: skip
    measured = {"seen": Measured(score=20, stderr=4), "blind": Measured(score=60, stderr=4)}
    row = ScoreRow(benchmark="chair", metric="chair_i", num_questions=8, num_unparsed=0, changes={BLIND: blind}, lower_is_better=True, **measured)  # fmt: skip
    assert (row.gain, row.gain_interval) == (40, (30, 50))
    upward = dataclasses.replace(row, lower_is_better=False)
    assert (upward.gain, upward.gain_interval) == (-40, (-50, -30))
