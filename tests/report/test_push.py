"""A model on a hub: what is sent, that it is all or nothing, and what a person reads where it cannot be."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up_run import MadeUp, made_up_run
from push_hub import PushHub, taking

from tinyllava_core import cli
from tinyllava_core.artifact import Artifact
from tinyllava_core.commands.of_runs import push
from tinyllava_core.errors import BadInput
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.secret import without_places

WEIGHTS = bytes(range(256)) * 4


@pytest.fixture
def facts(tmp_path: Path) -> RunFacts:
    """A run with an export and a report."""
    run: MadeUp = made_up_run(tmp_path / "workspace", num_steps=2)
    told = run.facts()
    ((_, exported),) = told.of("export")
    (exported.folder / "hf").mkdir()
    (exported.folder / "hf" / "config.json").write_text("{}")
    (exported.folder / "hf" / "model.safetensors").write_bytes(WEIGHTS)
    report = tmp_path / "workspace" / "artifacts" / "report" / "0123"
    report.mkdir(parents=True)
    (report / "MODEL_CARD.md").write_text("---\nlicense: other\n---\n# A model\n")
    page = Artifact(stage="report", fingerprint="0123", folder=report, made=True)
    return dataclasses.replace(told, stages=(*told.stages, ("report", "", page)))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PushHub]:
    """A hub on loopback, and a token for it. (Xet, by which the real one takes large files, is closed: LFS is the other way.)"""
    with taking(PushHub()) as found:
        for name in ("huggingface_hub.constants.ENDPOINT", "huggingface_hub.hf_api.ENDPOINT"):
            monkeypatch.setattr(name, found.url, raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
        yield found


@pytest.fixture
def run_word(facts: RunFacts, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("tinyllava_core.report.gather.gather_named", lambda workspace, word: facts)
    return "latest"


def test_all_of_it_is_one_commit_with_card_and_provenance(hub: PushHub, run_word: str, facts: RunFacts, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert cli.main(["push", run_word, "owner/name", "--private", "--yes"]) == 0
    assert set(hub.committed) == {"config.json", "model.safetensors", "README.md", "provenance.json"}
    assert hub.committed["model.safetensors"] == WEIGHTS
    assert hub.committed["README.md"].startswith(b"---\nlicense: other")
    told = json.loads(hub.committed["provenance.json"])
    assert told["run"] == facts.run_id
    assert told["recipe"]["name"] == facts.recipe.name
    assert {one["stage"] for one in told["artifacts"]} >= {"mix", "plan", "sft", "export"}
    assert {one["licence"] for one in told["sources"]} == {"Apache-2.0"}
    assert hub.made[0].get("private") or hub.made[0].get("visibility") == "private"
    assert hub.tokens == {"Bearer hf_of_this_test"}
    assert [path for path in hub.asked if path.endswith("/commit/main")] == ["/api/models/owner/name/commit/main"]
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/owner/name/commit/{'d' * 40}"


def test_no_path_of_this_disk_goes_along(facts: RunFacts) -> None:
    model = facts.recipe.model.model_copy(update={"language": "/home/somebody/models/mine"})
    told = push.provenance(dataclasses.replace(facts, recipe=facts.recipe.model_copy(update={"model": model})))
    assert told["recipe"]["model"]["language"] == ".../mine"
    assert "somebody" not in json.dumps(told, default=str)


def test_neither_the_card_of_the_export_nor_the_places_of_a_source_say_where_a_home_lies(facts: RunFacts) -> None:
    ((_, exported),) = facts.of("export")
    vision = {"weights": "/home/somebody/models/eye", "width": 128, "mean": [0.5]}
    (exported.folder / "hf" / "tinyllava_export.json").write_text(json.dumps({"vision": vision, "prompt": "/ and /"}))
    sent = push.contents(facts)["tinyllava_export.json"]
    assert isinstance(sent, bytes)
    assert json.loads(sent) == {"vision": {**vision, "weights": ".../eye"}, "prompt": "/ and /"}
    told = "https://example.org/a.json /home/some body/my pics hub:///home/somebody/rows/default/train"
    assert without_places(told) == "https://example.org/a.json .../my pics .../train"


def test_without_yes_nothing_is_asked_and_all_is_told(
    hub: PushHub, run_word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push", run_word, "owner/name"]) == 0
    assert hub.asked == []
    told = capsys.readouterr().out
    assert "1.0 kB  model.safetensors" in told
    assert f"in 4 files would go to {hub.url}/owner/name; nothing was sent" in told


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "the token may not write there"), (401, "the token may not write there"), (400, "You may not")],
)
def test_a_hub_that_refuses_is_one_line(hub: PushHub, run_word: str, status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    hub.status = status
    assert cli.main(["push", run_word, "owner/name", "--yes"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {hub.url}/owner/name: the hub refuses ({status}")
    assert said in line
    assert "hf_of_this_test" not in line


def test_a_hub_that_hangs_up_before_the_commit_has_nothing(hub: PushHub, run_word: str, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    hub.hangs_up_at = "/commit/"
    assert cli.main(["push", run_word, "owner/name", "--yes"]) == 2
    assert hub.committed == {}
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("nothing is there yet, and the same command may be given again")
    )
    hub.hangs_up_at = ""
    assert cli.main(["push", run_word, "owner/name", "--yes"]) == 0
    assert len(hub.committed) == 4


def test_without_a_token_nothing_is_asked(hub: PushHub, facts: RunFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(BadInput, match="owner/name: no token to write to the hub with; set HF_TOKEN"):
        push.send(push.contents(facts), "owner/name")
    assert hub.asked == []


@pytest.mark.parametrize("name", ["name", "owner/na me", "a/b/c", "owner/-"])
def test_what_no_hub_would_take_as_a_name_is_refused_first(name: str, run_word: str, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert cli.main(["push", run_word, name, "--yes"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {name!r} is no name of a hub's model: ")


def test_a_run_without_an_export_says_how_to_get_one(facts: RunFacts) -> None:
    bare = dataclasses.replace(facts, stages=tuple(one for one in facts.stages if one[0] != "export"))
    with pytest.raises(BadInput, match=r"it has no export; set one on its recipe \(`--set export=hf-llava`\)"):
        push.contents(bare)
