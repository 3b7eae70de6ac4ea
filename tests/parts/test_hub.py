"""What a hub has of a part, looked for on a hub of this machine: the commit, what is missing, what a person must do."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from parts.model_hub import COMMIT, ModelHub, files_of, serving

from tasks.source import check_recipe
from tinyllava_core.cli import main
from tinyllava_core.data.plan.ready import check_parts, missing_parts
from tinyllava_core.errors import BadInput
from tinyllava_core.parts import LANGUAGES, TOY_BACKBONES, hub, tokenizer_folder
from tinyllava_core.recipe import load

LANGUAGE = TOY_BACKBONES / "language"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub with the toy world's language model under owner/name, and a row that names it."""
    with serving(ModelHub(files_of(LANGUAGE))) as found:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "cache"), raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setitem(LANGUAGES, "hubbed", replace(LANGUAGES["toy-llama"], weights="owner/name"))
        yield found


def recipe(**more: object):
    return load("toy", {"model.language": "hubbed"} | more)


def test_what_the_hub_has_is_enough_and_no_weights_are_fetched(world: ModelHub) -> None:
    check_parts(recipe())
    assert not any(path.endswith(".safetensors") for path in world.asked)


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (404, "RepoNotFound", "is not there, or private: correct the name, or sign in"),
        (401, "RepoNotFound", "is not there, or private: correct the name, or sign in"),
        (401, "", "is not there, or private|the hub takes no such token"),
        (403, "GatedRepo", "gated: accept its licence at .*/owner/name, then sign in"),
        (403, "", "gated: accept its licence"),
        (500, "", "neither in the hub's cache nor to be had from .*HTTP status 500"),
    ],
)
def test_what_the_hub_refuses_is_told_apart_with_what_helps(world: ModelHub, status: int, code: str, told: str) -> None:
    world.status, world.error_code = status, code
    with pytest.raises(BadInput, match=told) as caught:
        check_recipe(recipe())
    assert str(caught.value).startswith("owner/name: ")
    assert "\n" not in str(caught.value)


def test_a_gated_model_whose_files_everybody_may_list_is_told_before_anything_is_fetched(world: ModelHub) -> None:
    world.gated_for = {None}
    assert [str(fault).split(":")[1].strip() for fault in missing_parts(recipe())] == ["gated"]


def test_a_hub_that_accepts_and_never_answers_is_given_up(world: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    world.silent = True
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.4)
    started = time.monotonic()
    with pytest.raises(BadInput, match=r"owner/name: neither .* \(asked once, for 0.4 s: ReadTimeout"):
        check_parts(recipe())
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ("tokenizer.json", "no tokenizer.json; found .*; transformers writes it: AutoTokenizer"),
        ("model.safetensors", "no weights; expected one of model.safetensors, "),
        ("config.json", "no config.json; found "),
    ],
)
def test_what_a_model_lacks_is_named_on_the_hub_and_in_a_folder(
    world: ModelHub, tmp_path: Path, lacks: str, told: str
) -> None:
    del world.files[lacks]
    with pytest.raises(BadInput, match=f"{world.url}/owner/name: {told}"):
        check_parts(recipe())
    folder = tmp_path / "mine"
    shutil.copytree(LANGUAGE, folder)
    (folder / lacks).unlink()
    with pytest.raises(BadInput, match=f"the folder {folder}: {told}"):
        hub.look_for(str(folder), None, ("tokenizer.json",))


def test_the_commit_that_is_here_stays_and_its_tokenizer_is_taken_though_the_hub_has_a_newer_one(
    world: ModelHub, tmp_path: Path
) -> None:
    first = tokenizer_folder(LANGUAGES["hubbed"])
    assert first.name == COMMIT == hub.commit_of("owner/name")
    world.commit = "d" * 40
    assert tokenizer_folder(LANGUAGES["hubbed"]) == first
    assert hub.commit_of("owner/name") == COMMIT


def test_offline_the_first_missing_file_is_named_and_a_whole_cache_is_enough(
    world: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match=r"owner/name: HF_HUB_OFFLINE is set, and .*cache has no config\.json of it"):
        check_parts(recipe())
    snapshot = tmp_path / "cache" / "models--owner--name" / "snapshots" / COMMIT
    shutil.copytree(LANGUAGE, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    check_parts(recipe())
    (snapshot / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"has no model-00001-of-00002\.safetensors of it"):
        check_parts(recipe())
    assert world.asked == []


def test_a_prompt_format_that_the_tokenizer_has_no_tokens_for_is_told_before_anything_is_done() -> None:
    with pytest.raises(BadInput, match=r"has no token '<\|im_start\|>', which the prompt format needs"):
        check_recipe(load("toy", {"sft.prompt": "chatml"}))


def test_check_says_what_a_run_would_stop_at_and_still_tells_what_it_would_take(
    world: ModelHub, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.gated_for = {None}
    monkeypatch.delitem(LANGUAGES, "hubbed")  # the counter of sizes is a process of its own
    monkeypatch.setitem(LANGUAGES, "phi-2", replace(LANGUAGES["phi-2"], weights="owner/name"))
    words = ["check", "toy", "--set", "model.language=phi-2", "--workspace", str(tmp_path)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "parts           owner/name: gated: accept its licence at " in told
    assert "\nsteps " in told


def test_the_commit_is_recorded_in_the_model_that_is_put_together(world: ModelHub) -> None:
    from tinyllava_core.model import assemble

    tokenizer_folder(LANGUAGES["hubbed"])  # as the plan does, before
    model = assemble.assemble(recipe().model, 0)
    assert model.config.commits == {"vision": None, "language": COMMIT}
