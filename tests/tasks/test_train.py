"""What decides a training stage's weights, and what only says how the work is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.train import hub_commits, part_lines, train_spec, weights_id
from tinyllava_core.artifact import Artifact
from tinyllava_core.recipe import load

WEIGHTS = ["sft.lr", "sft.weight_decay", "sft.language.lr", "sft.warmup_fraction", "sft.max_grad_norm"]


@pytest.mark.parametrize("field", WEIGHTS)
def test_a_setting_of_the_optimizer_changes_sft_alone(field: str) -> None:
    before, after = load("toy"), load("toy", {field: 0.0123})
    assert train_spec(after, "sft") != train_spec(before, "sft")
    assert train_spec(after, "pretrain") == train_spec(before, "pretrain")


def test_seed_and_model_change_both() -> None:
    before = load("toy")
    for overrides in ({"seed": 1}, {"model.connector": "linear"}, {"model.vision_layer": -1}):
        after = load("toy", overrides)
        assert train_spec(after, "sft") != train_spec(before, "sft")
        assert train_spec(after, "pretrain") != train_spec(before, "pretrain")


@pytest.mark.parametrize(
    "overrides",
    [
        {"sft.data_workers": 0},
        {"sft.save_every": 7},
        {"sft.max_lost_fraction": 0.5},
        {"sft.gradient_checkpointing": True},
        {"launch.launcher": "torchrun", "launch.processes": 2},
        {"launch.timeout_s": 60},
        {"evaluate.batch_size": 3},
        {"description": "another"},
    ],
    ids=lambda overrides: next(iter(overrides)),
)
def test_how_the_work_is_done_changes_no_weights(overrides: dict) -> None:
    assert train_spec(load("toy", overrides), "sft") == train_spec(load("toy"), "sft")


def test_what_is_in_the_plan_is_not_told_twice() -> None:
    """The plan is an input: its fingerprint carries these."""
    overrides = {"sft.global_batch": 3, "sft.epochs": 2, "sft.max_length": 400, "sft.group_by": "modality"}
    assert train_spec(load("toy", overrides), "sft") == train_spec(load("toy"), "sft")


def test_a_stages_own_image_mode_changes_that_stage_alone() -> None:
    """And is the same as saying it of the whole model, as far as that stage goes."""
    before, after = load("toy"), load("toy", {"sft.image_mode": "pad"})
    assert train_spec(after, "pretrain") == train_spec(before, "pretrain")
    assert train_spec(after, "sft") != train_spec(before, "sft")
    assert train_spec(after, "sft") == train_spec(load("toy", {"model.image_mode": "pad"}), "sft")


def test_local_weights_are_named_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    # sha256 of the two bytes {}
    assert weights_id(str(tmp_path), None) == {
        "config.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    }


def test_hub_weights_are_named_by_their_revision() -> None:
    assert weights_id("microsoft/phi-2", "abc") == "microsoft/phi-2@abc"
    assert weights_id("microsoft/phi-2", None) == "microsoft/phi-2@newest"


def test_each_part_is_told_with_its_size_and_whether_it_moved(tmp_path: Path) -> None:
    rows = [
        {"part": "vision", "num_parameters": 1200, "num_trained": 0, "num_tensors_trained": 0, "num_tensors_moved": 0},
        {
            "part": "connector",
            "num_parameters": 34,
            "num_trained": 34,
            "num_tensors_trained": 4,
            "num_tensors_moved": 4,
        },
    ]
    (tmp_path / "parts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    vision, connector = part_lines(Artifact(stage="sft", fingerprint="f", folder=tmp_path))
    assert vision.split() == ["-", "vision", "1,200", "parameters,", "frozen,", "0", "tensors", "moved"]
    assert connector.split() == [
        "-",
        "connector",
        "34",
        "parameters,",
        "34",
        "trained",
        "in",
        "4",
        "tensors,",
        "4",
        "tensors",
        "moved",
    ]


def test_a_hub_name_without_a_pin_is_the_commit_that_this_machine_has_in_fingerprint_and_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    recipe = load("base")
    assert hub_commits(recipe) == {}  # nothing is here, and nobody can be asked
    assert train_spec(recipe, "pretrain")["weights"][1] == "microsoft/phi-2@newest"
    refs = tmp_path / "models--microsoft--phi-2" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("c0ffee\n")
    assert hub_commits(recipe) == {"microsoft/phi-2": "c0ffee"}
    assert train_spec(recipe, "pretrain")["weights"][1] == "microsoft/phi-2@c0ffee"
    assert "weights" not in train_spec(recipe, "sft")


def test_a_process_loads_the_commit_that_its_job_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyllava_core.model import assemble

    class Kind:
        @staticmethod
        def from_pretrained(weights: str, **how: object) -> object:
            return weights, how["revision"]

    monkeypatch.setattr(assemble, "_COMMITS", {})
    assemble.pin({"some/model": "c0ffee"})
    assert assemble.from_pretrained(Kind, "some/model", None) == ("some/model", "c0ffee")
    assert assemble.from_pretrained(Kind, "some/model", "pinned") == ("some/model", "pinned")
    assert assemble.from_pretrained(Kind, "another/model", None) == ("another/model", None)
