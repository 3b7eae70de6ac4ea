"""Training is a function of the plan: exact after a kill, equal on any number of ranks and packs, and checked afterwards."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train.conftest import run_until_killed
from transformers import get_wsd_schedule

from tinyllava_core.errors import BadInput
from tinyllava_core.job import TrainJob, read_result
from tinyllava_core.model import checkpoint, trainable
from tinyllava_core.model.assemble import assemble
from tinyllava_core.results import TrainResult
from tinyllava_core.train import loop
from tinyllava_core.train.__main__ import choose_device, run
from tinyllava_core.train.engines.plain import TorchEngine
from tinyllava_core.train.ledger import read_rows
from tinyllava_core.train.schedule import lr_factor

MakeJob = Callable[..., TrainJob]


def weights(job: TrainJob) -> dict[str, torch.Tensor]:
    return load_file(job.out / "checkpoint" / "model.safetensors")


def steps(job: TrainJob) -> list[dict[str, Any]]:
    return read_rows(job.out / "steps.jsonl")


def test_a_stage_trains_every_planned_step_and_says_what_moved(make_job: MakeJob) -> None:
    job = make_job("plain")
    run(job, [False])
    result = read_result(job.out, "train", TrainResult)
    assert (result.num_steps, result.num_records, result.num_lives) == (6, 22, 1)
    assert result.last_loss < result.first_loss
    assert [row["step"] for row in steps(job)] == list(range(6))
    assert [row["num_records"] for row in steps(job)] == [4, 4, 4, 4, 4, 2]
    parts = {row["part"]: row for row in read_rows(job.out / "parts.jsonl")}
    assert [parts[name]["moved"] for name in ("vision", "connector", "language")] == [False, True, True]
    # connector: 16 * 24 + 24, then 24 * 24 + 24
    assert parts["connector"]["num_trained"] == parts["connector"]["num_parameters"] == 408 + 600
    assert parts["vision"]["num_trained"] == 0
    assert not (job.out / "resume").exists()
    assert checkpoint.load(job.out / "checkpoint").prompt == "short"


@pytest.mark.parametrize("dies_after", [1, 2, 5])
def test_a_killed_run_goes_on_to_bit_identical_weights_and_the_same_ledger(make_job: MakeJob, dies_after: int) -> None:
    whole, killed = make_job("whole"), make_job("killed")
    run(whole, [False])
    run_until_killed(killed, dies_after)
    run(killed, [False])
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(killed).values(), strict=True))
    keys = ("step", "loss", "grad_norm", "lr_language", "num_tokens")
    assert [[row[k] for k in keys] for row in steps(killed)] == [[row[k] for k in keys] for row in steps(whole)]
    lives = read_rows(killed.out / "lives.jsonl")
    assert [life["from_step"] for life in lives] == [0, dies_after // 2 * 2]
    assert read_result(killed.out, "train", TrainResult).num_lives == 2


def test_a_run_asked_to_end_saves_first(make_job: MakeJob) -> None:
    job = make_job("stopped", save_every=100)
    with pytest.raises(loop.Stopped, match="saved after step 0"):
        run(job, [True])
    run(job, [False])
    assert [life["from_step"] for life in read_rows(job.out / "lives.jsonl")] == [0, 1]


def test_pretrain_trains_the_connector_alone_and_sft_starts_from_it(make_job: MakeJob) -> None:
    pretrain = make_job("pretrain", stage="pretrain")
    run(pretrain, [False])
    rows = {row["part"]: row for row in read_rows(pretrain.out / "parts.jsonl")}
    assert {part: row["moved"] for part, row in rows.items()} == {"vision": False, "connector": True, "language": False}
    sft = make_job("sft", start=pretrain.out / "checkpoint")
    connector = weights(pretrain)["multi_modal_projector.linear_1.weight"]
    assert torch.equal(checkpoint.load_model(sft.start).model.multi_modal_projector.linear_1.weight, connector)  # type: ignore[arg-type]
    run(sft, [False])
    assert read_result(sft.out, "train", TrainResult).stage == "sft"


def test_vision_blocks_are_trained_from_the_named_one_up_to_the_last_that_is_read(make_job: MakeJob) -> None:
    job = make_job("vision", vision={"trainable_from_layer": 1, "lr": 1e-3})
    model = assemble(job.recipe.model, 0)
    trainable.choose(model, job.recipe.sft)
    trained = {name for name, p in model.named_parameters() if p.requires_grad and "vision_tower" in name}
    assert trained
    assert {name.split("layers.")[1].split(".")[0] for name in trained} == {"1"}  # of 0, 1, 2: the last is never read
    run(job, [False])
    rows = {row["part"]: row for row in read_rows(job.out / "parts.jsonl")}
    assert rows["vision"]["moved"]
    assert rows["vision"]["num_tensors_trained"] == rows["vision"]["num_tensors_moved"] == len(trained)
    first = steps(job)[0]
    assert first["lr_vision"] == pytest.approx(first["lr_language"] / 10)


def test_a_part_that_was_to_be_trained_and_did_not_move_fails_the_stage_by_name(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("still")
    true_groups = trainable.groups
    monkeypatch.setattr(
        trainable,
        "groups",
        lambda model, training: [g for g in true_groups(model, training) if g["part"] != "connector"],
    )
    with pytest.raises(
        RuntimeError, match="part connector was to be trained, 4 of its tensors should have moved, 0 did"
    ):
        run(job, [False])
    assert not (job.out / "checkpoint").exists()


def test_the_rate_warms_up_and_falls_along_a_cosine(make_job: MakeJob) -> None:
    training = make_job("rates").recipe.sft
    assert training.schedule == "cosine"
    factors = [lr_factor(training, "language", step, 100) for step in range(100)]  # 3 steps of warm-up
    assert factors[:4] == [pytest.approx(0.25), pytest.approx(0.5), pytest.approx(0.75), 1.0]
    assert factors[3 + 48] == pytest.approx(0.5, abs=0.01)
    assert 0 < factors[-1] < 0.001
    linear = training.model_copy(update={"schedule": "linear"})
    assert lr_factor(linear, "language", 3 + 97 // 2, 100) == pytest.approx(0.5, abs=0.01)


def test_a_part_may_warm_up_on_its_own_and_the_rate_may_end_above_zero(make_job: MakeJob) -> None:
    """Of 100 steps the connector's 10th is at its peak, the language model's 4th; cosine to a tenth: halfway 0.55, as nanoVLM."""
    training = make_job("own", final_lr_fraction=0.1, connector={"warmup_fraction": 0.09}).recipe.sft
    connector, language = (
        [lr_factor(training, part, step, 100) for step in range(100)] for part in ("connector", "language")
    )
    assert connector[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert language[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert language[3 + 48] == pytest.approx(0.55, abs=0.01)
    assert connector[-1] == pytest.approx(0.1, abs=0.001)
    with pytest.raises(BadInput, match=r"final_lr_fraction = 0.1 has no effect with schedule constant"):
        make_job("flat", schedule="constant", final_lr_fraction=0.1)
    with pytest.raises(BadInput, match=r"vision is frozen .* warmup_fraction have no effect"):
        make_job("cold", vision={"warmup_fraction": 0.1})


def test_a_stable_rate_falls_at_the_end_as_transformers_has_it(make_job: MakeJob) -> None:
    training = make_job("stable", schedule="wsd", decay_fraction=0.4, warmup_fraction=0.2).recipe.sft
    theirs = get_wsd_schedule(
        torch.optim.SGD([torch.zeros(1)], lr=1.0),
        num_warmup_steps=2,
        num_decay_steps=4,
        num_training_steps=10,
        decay_type="1-sqrt",
    ).lr_lambdas[0]
    found = [lr_factor(training, "language", step, 10) for step in range(10)]
    assert found[:2] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]  # ours starts at 1, not at 0
    assert found[2:] == pytest.approx([theirs(step) for step in range(2, 10)])
    assert found[6:] == pytest.approx([1.0, 0.5, 0.2929, 0.1340], abs=1e-4)
    with pytest.raises(BadInput, match="schedule wsd needs decay_fraction"):
        make_job("lone", schedule="wsd")
    with pytest.raises(BadInput, match="the others have none"):
        make_job("other", decay_fraction=0.1)


def test_a_state_of_before_the_common_format_is_refused_in_one_line(make_job: MakeJob) -> None:
    job = make_job("old")
    old = job.out / "resume" / "step-00000002"
    old.mkdir(parents=True)
    torch.save({}, old / "state.pt")
    with pytest.raises(
        BadInput, match=r"step-00000002: a training state as an older version.*delete .*resume to begin"
    ):
        run(job, [False])


def test_a_state_is_tensors_alone_and_nothing_that_could_run(make_job: MakeJob) -> None:
    job = make_job("state", save_every=100)
    with pytest.raises(loop.Stopped):
        run(job, [True])
    (folder,) = (job.out / "resume").iterdir()
    assert {file.suffix for file in folder.iterdir() if file.name != "sha256.json"} == {".safetensors"}
    names = {name for file in folder.glob("*.safetensors") for name in load_file(file)}
    kinds = {name.split("/")[0] for name in names}
    assert kinds == {"weight", "exp_avg", "exp_avg_sq", "updates"}


def test_a_gradient_that_is_no_number_changes_no_weight_and_no_moment(make_job: MakeJob) -> None:
    job = make_job("poison")
    model = assemble(job.recipe.model, 0)
    trainable.choose(model, job.recipe.sft)
    engine = TorchEngine(model, trainable.groups(model, job.recipe.sft), job.recipe.sft)
    before = trainable.tensor_digests(model)
    engine.backward(model.lm_head.weight.sum() * float("nan"), is_last=True)
    assert not math.isfinite(engine.step().total)
    assert trainable.tensor_digests(model) == before
    assert not engine.optimizer.state
    engine.backward(model.lm_head.weight.sum(), is_last=True)
    assert engine.step().total == pytest.approx(model.lm_head.weight.numel() ** 0.5)
    assert trainable.tensor_digests(model) != before


def test_a_tensor_that_stood_still_is_told_at_the_end_and_the_checkpoint_is_kept(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, true_groups = make_job("one-still"), trainable.groups

    def without_a_bias(model: Any, training: Any) -> Any:
        bias = model.model.multi_modal_projector.linear_2.bias
        found = true_groups(model, training)
        for group in found:
            group["params"] = [p for p in group["params"] if p is not bias]
        return found

    monkeypatch.setattr(trainable, "groups", without_a_bias)
    run(job, [False])
    told = "warning: stage sft: part connector was to be trained, 4 of its tensors should have moved, 3 did; the checkpoint is kept"
    assert told in capsys.readouterr().err
    assert (job.out / "checkpoint" / "model.safetensors").is_file()


def test_a_stage_says_what_steps_it_and_what_attends(make_job: MakeJob, capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job("says")
    run(job, [False])
    assert "sft: torch on 1 x cpu, packed attention by loop\n" in capsys.readouterr().out
    result = read_result(job.out, "train", TrainResult)
    assert (result.engine, result.attention) == ("torch", "loop")


def test_matrices_get_weight_decay_and_vectors_none(make_job: MakeJob) -> None:
    job = make_job("decay", weight_decay=0.1, connector={"trainable_from_layer": 0, "lr": 5e-3, "weight_decay": 0.2})
    model = assemble(job.recipe.model, 0)
    trainable.choose(model, job.recipe.sft)
    found = {(g["part"], g["weight_decay"], g["peak_lr"]): g["params"] for g in trainable.groups(model, job.recipe.sft)}
    assert set(found) == {
        ("connector", 0.2, 5e-3),
        ("connector", 0.0, 5e-3),
        ("language", 0.1, 1e-2),
        ("language", 0.0, 1e-2),
    }
    assert all(p.ndim == 1 for p in found["language", 0.0, 1e-2])  # type: ignore[attr-defined]


def test_a_gpu_that_is_not_there_is_one_clear_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(BadInput, match="torch sees no GPU here; set it to auto or cpu"):
        choose_device("cuda")


def test_the_process_tells_its_progress_and_ends_with_2_on_bad_input(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(json.dumps({"stage": "sft", "recipee": {}}))
    done = subprocess.run(
        [sys.executable, "-m", "tinyllava_core.train", str(tmp_path / "bad.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "unknown key 'recipee'; nearest: 'recipe'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_training_state_that_was_changed_is_told_and_the_one_before_it_goes_on_to_the_same_end(
    make_job: MakeJob, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    whole, job = make_job("whole"), make_job("harmed")
    run(whole, [False])
    run_until_killed(job, 5)  # states after steps 2 and 4
    (state,) = (job.out / "resume" / "step-00000004").glob("*.safetensors")
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 4
    state.write_bytes(data if harm == "flip" else data[:-9])
    run(job, [False])
    assert "step-00000004 is not what was saved there" in capsys.readouterr().err
    assert [row["life"] for row in steps(job)] == [0, 0, 1, 1, 1, 1]
    ours, theirs = weights(job), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("data_workers", [0, 1])
def test_a_bit_that_flipped_in_a_tar_is_one_line_and_no_step_is_taken_on_it(
    make_job: MakeJob, tmp_path: Path, data_workers: int
) -> None:
    job = make_job("flipped", data_workers=data_workers)
    shards = tmp_path / "shards"
    shutil.copytree(job.shards, shards)
    job = job.model_copy(update={"shards": shards})
    tar = shards / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    at = data.rindex(b"IDAT") + 8  # inside the last picture
    data[at] ^= 1
    tar.write_bytes(data)
    with pytest.raises(
        BadInput, match=r"shard-000000\.tar: the \d+ bytes from \d+ on are not what was written there"
    ) as caught:
        run(job, [False])
    assert "\n" not in str(caught.value)
    assert not (job.out / "checkpoint").exists()
