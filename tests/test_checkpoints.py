"""What a person's word for a checkpoint means, and the two roads that begin with one."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyllava_core import checkpoints
from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.errors import BadInput
from tinyllava_core.intact import sealed
from tinyllava_core.lineage.fragments import leave
from tinyllava_core.parts import VISIONS, language_row
from tinyllava_core.recipe import load
from tinyllava_core.results import StartResult
from tinyllava_core.roads import evaluation, tuning

RESULT = StartResult(source="", size_bytes=1, checkpoint_sha256="0")
CARD = {
    "schema": 2,
    "language": "toy-llama",
    "connector": "mlp",
    "prompt": "short",
    "image_mode": "pad",
    "pixels": "pil",
}
CONFIG = {"connector": {"layers": 2, "queries": None, "shrink": None}, "vision_feature_layer": -1}


def write_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    vision = {"weights": VISIONS["toy-vit"].weights, "mixture": []}
    (folder / "tinyllava.json").write_text(json.dumps(CARD | {"vision": vision}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def trained(workspace: Path, run_id: str, stage: str, second: int) -> Artifact:
    """A run of the toy recipe that trained one stage, so many seconds past midnight."""

    def make(folder: Path) -> StartResult:
        write_checkpoint(folder / "checkpoint")
        return RESULT

    artifact = make_once(workspace, stage, 1, {"of": run_id}, {}, make)
    told = artifact.manifest() | {"made_at": f"2026-11-28T00:00:{second:02}+00:00"}
    (artifact.folder / "result.json").write_text(json.dumps(sealed(told)))
    row = {"run_id": run_id, "stage": stage, "name": stage, "fingerprint": artifact.fingerprint, "made": True}
    row |= {"started_at": datetime(2026, 11, 28, 0, 0, second, tzinfo=UTC), "seconds": 1.0, "task_run_id": None}
    leave(workspace, "stage", f"{run_id} {stage} {stage}", [row])
    return artifact


def test_latest_a_runs_id_first_letters_and_folders_name_the_same(tmp_path: Path) -> None:
    first = trained(tmp_path, "toy-1", "pretrain", 1)
    last = trained(tmp_path, "toy-1", "sft", 2)
    other = trained(tmp_path, "mine-2", "sft", 3)

    def found(word: str) -> str:
        artifact = checkpoints.find(tmp_path, word)
        assert isinstance(artifact, Artifact)
        return artifact.fingerprint

    assert found("latest") == found("mine-2") == found("mine") == other.fingerprint
    assert found("toy-1") == found(last.fingerprint[:6]) == found(str(last.folder)) == last.fingerprint
    assert found(first.fingerprint) == found(str(first.folder / "checkpoint")) == first.fingerprint


def test_a_folder_from_elsewhere_is_itself(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "theirs" / "checkpoint")
    assert checkpoints.find(tmp_path / "workspace", str(folder)) == folder
    assert checkpoints.find(tmp_path / "workspace", str(folder.parent)) == folder


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("toy-2", "checkpoint 'toy-2': there is none in"),
        ("toy", "run 'toy' can be toy-1, toy-11: give more letters"),
        ("./nowhere", "checkpoint './nowhere': no such folder"),
        ("empty", "no checkpoint there"),
    ],
)
def test_a_word_that_names_nothing_or_too_much_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for number, run_id in enumerate(("toy-1", "toy-11")):
        trained(tmp_path, run_id, "sft", number)
    with pytest.raises(BadInput) as caught:
        checkpoints.find(tmp_path, word)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_trained_yet_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing was trained here yet"):
        checkpoints.find(tmp_path, "latest")


def leave_run(workspace: Path, run_id: str, changed: dict[str, Any] | None = None) -> None:
    overrides = {"evaluate.benchmarks": ["toy-vqa"], "launch.device": "cpu", **(changed or {})}
    recipe = load("toy", overrides).model_dump(mode="json")
    text = dict.fromkeys(
        ("recipe", "recipe_sha256", "overrides_json", "flow_run_id", "git_commit", "packages_json", "host")
    )
    row = {**text, "run_id": run_id, "recipe_yaml": yaml.safe_dump(recipe), "git_dirty": None, "seed": 1}
    leave(workspace, "run", run_id, [row | {"started_at": datetime(2026, 11, 28, tzinfo=UTC)}])


def test_an_evaluation_is_as_in_the_run_that_trained_the_checkpoint(tmp_path: Path) -> None:
    artifact = trained(tmp_path, "toy-1", "sft", 1)
    leave_run(tmp_path, "toy-1")
    recipe = load(*evaluation(tmp_path, "latest", []))
    assert (recipe.stages(), recipe.start, recipe.evaluate.benchmarks) == ((), artifact.fingerprint, ("toy-vqa",))
    assert (recipe.model.vision, recipe.model.vision_layer, recipe.model.image_mode) == ("toy-vit", -1, "pad")
    assert (recipe.evaluate.precision, recipe.launch.device) == ("fp32", "cpu")
    asked = load(*evaluation(tmp_path, "latest", ["toy-pope"], {"evaluate.blind": False}))
    assert (asked.evaluate.benchmarks, asked.evaluate.blind) == (("toy-pope",), False)


def test_a_checkpoint_from_elsewhere_has_no_benchmarks_of_its_own(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "theirs")
    with pytest.raises(BadInput, match="which benchmarks"):
        evaluation(tmp_path, str(folder), [])
    assert load(*evaluation(tmp_path, str(folder), ["toy-pope"])).start == str(folder)


def test_tuning_is_one_stage_on_ones_own_data_in_the_checkpoints_prompt(tmp_path: Path) -> None:
    trained(tmp_path, "toy-1", "sft", 1)
    leave_run(tmp_path, "toy-1")
    recipe = load(*tuning(tmp_path, "latest", ["toy-chat"], {"sft.epochs": 2}))
    assert recipe.stages() == ("sft",)
    assert [entry.source for entry in recipe.training("sft").mix] == ["toy-chat"]
    assert (recipe.training("sft").prompt, recipe.training("sft").precision) == ("short", "fp32")
    assert (recipe.training("sft").epochs, recipe.evaluate.benchmarks) == (2, ())


def test_tuning_goes_on_at_the_rate_of_the_training_before_unless_that_was_of_adapters(tmp_path: Path) -> None:
    """The toy world's 1e-3 is fifty times LLaVA's 2e-5, at which its small models would not move."""
    folder = write_checkpoint(tmp_path / "theirs")
    assert load(*tuning(tmp_path, str(folder), ["toy-chat"])).training("sft").lr == 2e-5
    trained(tmp_path, "toy-1", "sft", 1)
    leave_run(tmp_path, "toy-1")
    assert load(*tuning(tmp_path, "latest", ["toy-chat"])).training("sft").lr == load("toy").training("sft").lr == 1e-3
    assert load(*tuning(tmp_path, "latest", ["toy-chat"], {"sft.lr": 5e-5})).training("sft").lr == 5e-5
    leave_run(tmp_path, "toy-1", {"sft.language.lora": {"rank": 4}})
    assert load(*tuning(tmp_path, "latest", ["toy-chat"])).training("sft").lr == 2e-5


def test_a_checkpoint_of_another_program_is_to_be_imported_first(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="make it one with `tinyllava import"):
        tuning(tmp_path, str(tmp_path / "theirs"), ["toy-chat"])


def test_an_export_of_the_workspace_stands_for_what_it_was_made_of_and_a_copy_is_to_be_imported(tmp_path: Path) -> None:
    artifact = trained(tmp_path, "toy-1", "sft", 1)
    export = tmp_path / "artifacts" / "export" / "e0e0"
    (export / "hf").mkdir(parents=True)
    (export / "hf" / "config.json").write_text("{}")
    (export / "result.json").write_text(json.dumps({"inputs": {"checkpoint": artifact.fingerprint}}))
    for folder in (export, export / "hf"):
        assert checkpoints.find(tmp_path, str(folder)).fingerprint == artifact.fingerprint  # type: ignore[union-attr]
    copy = (export / "hf").rename(tmp_path / "hf")
    with pytest.raises(BadInput, match=f"make it one with `tinyllava import {copy} --out FOLDER`"):
        evaluation(tmp_path, str(tmp_path), ["toy-pope"])


def test_a_whole_checkpoints_folder_tells_its_language_models_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"hidden_size": 8, "num_hidden_layers": 3}}))
    row = language_row(str(tmp_path))
    assert (row.width, row.num_layers) == (8, 3)


def test_a_card_tells_the_encoders_row_wherever_its_weights_lay() -> None:
    for key in ("toy-vit", "siglip-so400m-patch14-384", "clip-dinov2-large-patch14-224"):
        row = VISIONS[key]
        weights = row.weights and f"/elsewhere/{Path(row.weights).name}"  # a mixture has none of its own
        card = {"vision": {"weights": weights, "mixture": list(row.mixture)}}
        assert checkpoints.vision_of(card) == key
    assert checkpoints.vision_of({"vision": {"weights": "some/other"}}) is None


def test_an_encoder_out_of_a_folder_is_read_there_and_else_in_the_checkpoint(tmp_path: Path) -> None:
    toy, part = Path(VISIONS["toy-vit"].weights), tmp_path / "my-encoder"
    folder = write_checkpoint(tmp_path / "checkpoint")
    (folder / "tinyllava.json").write_text(json.dumps(CARD | {"vision": {"weights": str(part), "mixture": []}}))
    config = json.loads((toy / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(CONFIG | {"vision_config": config}))
    shutil.copy(toy / "preprocessor_config.json", folder)
    shutil.copytree(toy, part)
    for place in (part, folder):
        recipe, overrides = evaluation(tmp_path, str(folder), ["toy-pope"])
        assert load(recipe, overrides).model.vision == str(place)
        assert (VISIONS[str(place)].width, VISIONS[str(place)].image_size) == (128, 72)
        shutil.rmtree(part, ignore_errors=True)


def test_several_runs_that_have_the_same_checkpoint_mean_no_two_things(tmp_path: Path) -> None:
    artifact = trained(tmp_path, "toy-1", "sft", 1)
    row = {"run_id": "toy-12", "stage": "sft", "name": "sft", "fingerprint": artifact.fingerprint, "made": False}
    row |= {"started_at": datetime(2026, 11, 28, tzinfo=UTC), "seconds": 1.0, "task_run_id": None}
    leave(tmp_path, "stage", "toy-12 sft sft", [row])
    assert (
        checkpoints.find(tmp_path, "toy-")
        == checkpoints.find(tmp_path, "toy-12")
        == checkpoints.find(tmp_path, "toy-1")
    )
