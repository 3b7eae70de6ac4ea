"""What a recipe needs of this machine, told before anything is downloaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinyllava_core import cli
from tinyllava_core.estimate import here
from tinyllava_core.recipe import load


def told(tmp_path: Path, recipe: str, **overrides: object) -> dict[str, tuple[str, str]]:
    rows = here.lacks(load(recipe, {key.replace("__", "."): value for key, value in overrides.items()}), tmp_path)
    return {what: (found, advice) for what, found, advice in rows}


def test_the_toy_world_lacks_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, "toy") == {}
    assert here.to_download(load("toy")) == 0


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "has_gpu", lambda: False)
    assert told(tmp_path, "toy", launch__device="cuda")["GPU"][0] == "none here"


def test_a_workspace_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in told(tmp_path / "file", "toy")["workspace"][1]


def test_what_a_person_must_fetch_is_told_until_it_is_named(tmp_path: Path) -> None:
    """base's benchmarks: three of them no program may fetch."""
    by_hand = told(tmp_path, "base")["by hand"][0].split(", ")
    assert len(by_hand) >= 3
    for name in by_hand:
        (tmp_path / name).mkdir()
    own = {name: str(tmp_path / name) for name in by_hand}
    assert "by hand" not in told(tmp_path, "base", data__local=own)


def test_a_file_of_another_number_of_records_is_told_with_the_manifest_that_takes_it(tmp_path: Path) -> None:
    (tmp_path / "llava_v1_5_mix665k.json").write_text(json.dumps([{"id": n} for n in range(3)]))
    found, advice = told(tmp_path, "base", data__root=str(tmp_path))["source llava-sft-665k"]
    assert found == "3 records, its manifest expects 665,298"
    assert f"path: {tmp_path}/llava_v1_5_mix665k.json" in advice


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "no folder" in told(tmp_path, "base", data__root=str(tmp_path / "nowhere"))["data.root"][1]


def test_of_a_source_that_rows_are_chosen_of_their_part_is_downloaded() -> None:
    """FineVision: 5 TB of 24.3 million records."""
    mix = {"pretrain": None, "sft.mix": [{"source": "finevision", "choose": 24_300}]}
    assert here.to_download(load("toy", mix)) == pytest.approx(5e9)


def test_a_disk_that_is_too_small_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """base downloads tens of gigabytes; three times that lies side by side."""
    needed = here.to_download(load("base"))
    assert needed > 20e9
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(3 * needed) - 10))
    assert "needed" in told(tmp_path, "base")["disk"][1]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(3 * needed) + 10))
    assert "disk" not in told(tmp_path, "base")


def test_doctor_tells_what_a_recipe_needs_and_no_credential_s_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINYLLAVA_JUDGE_URL", "http://secret.example")
    monkeypatch.delenv("TINYLLAVA_JUDGE_MODEL", raising=False)
    words = ["doctor", "toy", "--set", "evaluate.benchmarks=[mm-vet]", "watch.loggers=[wandb]", "--json"]
    assert cli.main([*words, "--workspace", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    rows = {row["what"]: row["found"] for row in json.loads(said)}
    assert (rows["TINYLLAVA_JUDGE_URL"], rows["TINYLLAVA_JUDGE_MODEL"]) == ("set", "not set")
    assert "WANDB_API_KEY" in rows
    assert "TINYLLAVA_JUDGE_KEY" not in rows
    assert "secret" not in said
