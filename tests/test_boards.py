"""Weights & Biases (the real one, offline) and Trackio: a training is one run there, with its settings, group and scores."""

from __future__ import annotations

import importlib
import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinyllava_core.boards import Board, group_of
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load

FINGERPRINT = "0123456789abcdef"


BLOCK = 32_768  # bytes of LevelDB's log, whose form an offline run has behind seven bytes of its own


def records(folder: Path) -> list[Any]:
    """Read what offline runs hold, in the order they were made: checksum, length, kind (1 whole, 2 first, 3 middle, 4 last)."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted(folder.rglob("*.wandb"), key=lambda one: one.stat().st_mtime_ns):
        data, at, held = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if BLOCK - at % BLOCK < 7:
                at += BLOCK - at % BLOCK
                continue
            _, length, kind = struct.unpack_from("<IHB", data, at)
            held += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):
                found.append(Record.FromString(held))
                held = b""
    return found


def test_a_training_is_one_run_with_its_settings_its_group_and_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it remembers the environment of whoever imported it first
    for name, value in {"MODE": "offline", "SILENT": "true", "DISABLE_GIT": "true", "PROJECT": "mine"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    name = "n" * 65  # a character more than a tag may have there: it ended the training before its first step
    recipe = load("toy", {"sft.lr": 1e-4, "name": name})
    for steps in ({0: {"loss": 2.0}, 1: {"loss": 1.0}}, {2: {"score/toy-pope": 92.5}}):  # its curves, then its scores
        board = Board("wandb", tmp_path, recipe, "sft", FINGERPRINT)
        for step, numbers in steps.items():
            board.log(step, numbers)
        board.close()
    wandb.teardown()
    found = records(tmp_path)
    runs = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.project, run.run_group, run.job_type) for run in runs} == {
        (FINGERPRINT, "mine", group_of(recipe), "sft")
    }
    config = {one.key: json.loads(one.value_json) for one in runs[0].config.update}
    assert (config["name"], config["sft"]["lr"], config["seed"]) == (name, 1e-4, recipe.seed)
    rows = [
        {(one.key or one.nested_key[0]): json.loads(one.value_json) for one in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    shown = [{key: row[key] for key in ("_step", "loss", "score/toy-pope") if key in row} for row in rows]
    assert shown == [{"_step": 0, "loss": 2.0}, {"_step": 1, "loss": 1.0}, {"_step": 2, "score/toy-pope": 92.5}]


def test_trackio_is_told_the_same_by_the_interface_that_it_shares(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It takes neither an id nor a folder: a run's name is its own, so the name holds the fingerprint."""
    told: list[Any] = []

    def init(project: str, name: str, group: str, config: dict[str, Any], resume: str, embed: bool) -> SimpleNamespace:
        told.append((project, name, group, config["name"], resume))
        return SimpleNamespace(
            log=lambda metrics, step: told.append((step, metrics)), finish=lambda: told.append("end")
        )

    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=init))  # type: ignore[arg-type]
    recipe = load("toy")
    board = Board("trackio", tmp_path / "none", recipe, "pretrain", FINGERPRINT)
    board.log(7, {"loss": 1.5})
    board.close()
    assert told == [
        ("tinyllava", "toy pretrain 012345", group_of(recipe), "toy", "allow"),
        (7, {"loss": 1.5}),
        "end",
    ]
    assert not (tmp_path / "none").exists()


def test_runs_of_equal_settings_are_a_group() -> None:
    assert group_of(load("toy")) == group_of(load("toy", {"sft.lr": load("toy").training("sft").lr}))
    assert group_of(load("toy")) != group_of(load("toy", {"sft.lr": 3e-4}))


def test_a_board_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)  # type: ignore[arg-type]
    importlib.invalidate_caches()
    with pytest.raises(BadInput, match=r"watch.loggers: trackio is not installed; pip install trackio"):
        Board("trackio", tmp_path, load("toy"), "sft", FINGERPRINT)
