"""`tinyllava doctor`: what is there and what is not; a credential's value is never shown."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tinyllava_core import cli
from tinyllava_core.commands import doctor


def found(capsys: pytest.CaptureFixture[str], workspace: Path) -> dict[str, tuple[str, str]]:
    assert cli.main(["doctor", "--json", "--workspace", str(workspace)]) == 0
    return {row["what"]: (row["found"], row["advice"]) for row in json.loads(capsys.readouterr().out)}


def test_it_tells_versions_places_and_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi there
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {port: "a test"})
        told = found(capsys, tmp_path / "workspace")
    import torch

    assert told["torch"][0] == torch.__version__
    assert told["GPU"][0] == "none"
    assert told[f"port {port}"] == ("in use", "a test")
    assert told["workspace"] == (str(tmp_path / "workspace"), "made by the first run")
    assert told["disk"][0].endswith("GB free")


def test_a_workspace_that_cannot_be_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert "is a file; name a folder" in found(capsys, tmp_path / "file")["workspace"][1]


def test_a_credential_is_there_or_not_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("TINYLLAVA_JUDGE_URL", raising=False)
    assert cli.main(["doctor", "--workspace", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "hf_secret" not in shown
    told = found(capsys, tmp_path)
    assert (told["HF_TOKEN"][0], told["TINYLLAVA_JUDGE_URL"][0]) == ("set", "not set")


def test_the_back_port_that_kills_prefects_own_server_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = tmp_path / "dataclasses-0.8.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: dataclasses\nVersion: 0.8\n")
    monkeypatch.syspath_prepend(tmp_path)
    version, advice = found(capsys, tmp_path / "workspace")["dataclasses"]
    assert version == "0.8"
    assert "pip uninstall dataclasses" in advice
