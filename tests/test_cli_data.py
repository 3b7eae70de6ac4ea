"""`tinyllava data`: what it lists, and what it says about faults."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tinyllava_core import cli
from tinyllava_core.data.manifest import manifest as manifests
from tinyllava_core.data.manifest.manifest import known


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, str]]:
    assert cli.main(["data", "list", "--format", "csv", *words]) == 0
    return {row["name"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}


def test_every_shipped_manifest_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert sorted(rows) == known()
    assert rows["toy-chat"] == {
        "name": "toy-chat",
        "kind": "source",
        "records": "4200",
        "files": "",
        "size": "",
        "licence": "Apache-2.0",
        "needs": "",
    }


def test_one_kind_may_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["kind"] for row in listed(capsys, "--kind", "benchmark").values()} == {"benchmark"}


def test_no_fault_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "lint", "toy-chat", "toy-pope"]) == 0
    assert capsys.readouterr().out == "2 manifests, no fault\n"


def test_faults_are_a_table_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MANIFESTS", tmp_path)
    (tmp_path / "mine.yaml").write_text("name: mine\nannotations: {url: 'http://a/b.json', format: llava}\n")
    assert cli.main(["data", "lint"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[2].split(maxsplit=1) == [
        "mine",
        "no licence; say under which one it may be used, or that none is stated",
    ]
    assert err == "error: 1 fault in 1 manifest\n"


@pytest.mark.parametrize("words", [["data"], ["data", "lits"], ["data", "list", "--kind", "sauce"]])
def test_a_wrong_word_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith("error: tinyllava data")
