"""The flow of a study: a run that fails stops no other, and the table is written whatever failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import flow

import flows.halving
import flows.study
from tasks.of_study.part import Part
from tasks.report import Outcome
from tinyllava_core.artifact import make_once
from tinyllava_core.report.scores import Measured, ScoreRow
from tinyllava_core.results import TrainResult


def trained(workspace: Path, stage: str, overrides: dict[str, Any], inputs: dict) -> Any:
    result = TrainResult(
        stage=stage,
        num_steps=1,
        num_records=1,
        num_tokens=1,
        first_loss=2.0,
        last_loss=0.25,
        held_out_loss=None,
        best_step=None,
        seconds=30.0,
        num_lives=1,
        num_parameters=9,
        num_trained=7 if stage == "sft" else 3,
        checkpoint_sha256="",
        device="cpu",
        world_size=1,
        engine="torch",
        attention="loop",
    )
    return make_once(workspace, stage, 1, overrides, inputs, lambda _: result)


@flow(name="stands-for-the-pipeline")
def pipeline(recipe: str, overrides: dict[str, Any], workspace: str) -> Outcome:
    """What a run leaves, without the run: the second variant breaks."""
    if overrides["model.connector"] == "linear":
        raise ValueError("it broke")
    home = Path(workspace)
    first = trained(home, "pretrain", overrides, {})
    last = trained(home, "sft", overrides, {"start": first})
    score = ScoreRow(
        benchmark="toy-pope",
        metric="accuracy",
        seen=Measured(score=90.0, stderr=1.0),
        blind=None,
        num_questions=1,
        num_unparsed=0,
    )
    return Outcome(scores=(score,), checkpoint=last.folder / "checkpoint", report=home, lineage=home)


def write_study(folder: Path, *connectors: str) -> str:
    variants = [{"name": name, "set": {"model.connector": name}} for name in connectors]
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "recipe": "toy", "variants": variants}))
    return str(path)


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_fails_stops_no_other_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.study, "full_pipeline", pipeline)
    study = write_study(tmp_path, "mlp", "linear", "resampler")
    with pytest.raises(RuntimeError, match=r"1 of 3 runs failed; the first: linear, seed 42: .*it broke"):
        flows.study.study(study, {}, str(tmp_path / "workspace"))
    lines = (tmp_path / "workspace" / "studies" / "mine" / "study.md").read_text().splitlines()
    assert lines[0] == "| variant | toy-pope | trained | last loss | training |"
    assert lines[2:4] == [
        "| mlp | 90.0 ± 1.0 | 7 | 0.250 | 60 s |",
        "| resampler | 90.0 ± 1.0 | 7 | 0.250 | 60 s |",
    ]
    assert lines[5].startswith("± is one standard error over the questions of one training")


@pytest.mark.usefixtures("prefect_server")
def test_the_page_of_a_whole_study_is_what_the_flow_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.study, "full_pipeline", pipeline)
    page = flows.study.study(write_study(tmp_path, "mlp", "resampler"), {"sft.epochs": 2}, str(tmp_path / "workspace"))
    assert page.name == "study.html"
    assert page.read_text().count("<figure>") == 2, "scores, and scores over cost"
    specs = [json.loads(file.read_text())["spec"] for file in tmp_path.glob("workspace/artifacts/sft/*/result.json")]
    assert {spec["model.connector"] for spec in specs} == {"mlp", "resampler"}
    assert {spec["sft.epochs"] for spec in specs} == {2}


@flow(name="stands-for-a-part-of-it")
def part(recipe: str, overrides: dict[str, Any], workspace: str, part: float) -> Part:
    """What is measured after a part of the steps, without the steps: the loss is the rate; 3.0 breaks."""
    rate = overrides["sft.lr"]
    if rate == 3.0:
        raise ValueError("it broke")
    assert overrides["sft.held_out"] == 200
    return Part(step=int(part * 100), num_steps=100, loss=rate, same="x", why_alone="")


@flow(name="stands-for-the-rest-of-it")
def rest(recipe: str, overrides: dict[str, Any], workspace: str) -> Outcome:
    return pipeline.fn(recipe, {"model.connector": "mlp", **overrides}, workspace)


@pytest.mark.usefixtures("prefect_server")
def test_halving_runs_to_the_end_only_what_went_on_and_tells_of_what_was_cut_without_a_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five rates one breaks; of the other four the two lowest go on after a quarter, and the lowest after half."""
    monkeypatch.setattr(flows.study, "full_pipeline", rest)
    monkeypatch.setattr(flows.halving, "first_part", part)
    path = tmp_path / "mine.yaml"
    rates = [4.0, 2.0, 3.0, 1.0, 5.0]
    path.write_text(yaml.safe_dump({"name": "mine", "recipe": "toy", "grid": {"sft.lr": rates}}))
    with pytest.raises(RuntimeError, match=r"1 of 2 runs failed; the first: lr 3.0, seed 42: .*it broke"):
        flows.study.study(str(path), {}, str(tmp_path / "workspace"), halving=True)
    home = tmp_path / "workspace" / "studies" / "mine"
    lines = (home / "study.md").read_text().splitlines()
    assert lines[2:6] == [
        "| lr 1.0 | 90.0 ± 1.0 | 7 | 0.250 | 60 s |",
        *(f"| lr {rate} | cut |  |  |  |" for rate in (4.0, 5.0, 2.0)),
    ]
    assert [line for line in lines if "went on" in line or "not scored" in line] == [
        "| lr 1.0 | 25%: step 25 of 100 | 1.0000 | among 4 | went on |",
        "| lr 2.0 | 25%: step 25 of 100 | 2.0000 | among 4 | went on |",
        "| lr 4.0 | 25%: step 25 of 100 | 4.0000 | among 4 | cut, not scored |",
        "| lr 5.0 | 25%: step 25 of 100 | 5.0000 | among 4 | cut, not scored |",
        "| lr 1.0 | 50%: step 50 of 100 | 1.0000 | among 2 | went on |",
        "| lr 2.0 | 50%: step 50 of 100 | 2.0000 | among 2 | cut, not scored |",
    ]
    assert len(list(tmp_path.glob("workspace/artifacts/sft/*/result.json"))) == 1
    page = (home / "study.html").read_text()
    assert "Cut before their end" in page
    assert "Successive halving cut 3 of 4 variants" in page
