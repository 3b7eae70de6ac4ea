"""A part that is named by its place: a folder, ~, a hub's name, KEY=PLACE; and what is said where it is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parts.model_hub import COMMIT, ModelHub, files_of, serving

from tinyllava_core.cli import main
from tinyllava_core.errors import BadInput
from tinyllava_core.parts import LANGUAGES, TOY_BACKBONES, VISIONS, language_row
from tinyllava_core.recipe import load


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with the toy world's two parts in it, as anybody's models lie on a disk."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for part in ("vision", "language"):
        shutil.copytree(TOY_BACKBONES / part, tmp_path / "models" / part)
    return tmp_path


def change(file: Path, **values: Any) -> None:
    data = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


@pytest.mark.parametrize("place", ["{home}/models/vision", "~/models/vision", "toy-vit=~/models/vision"])
def test_an_encoders_folder_gives_the_row_that_the_table_has_of_it(home: Path, place: str) -> None:
    row = VISIONS[place.format(home=home)]
    assert row == replace(VISIONS["toy-vit"], weights=str(home / "models/vision"))


def test_a_language_models_row_may_have_its_weights_elsewhere_and_keeps_its_prompt(home: Path) -> None:
    row = language_row("toy-llama=~/models/language")
    assert row == replace(LANGUAGES["toy-llama"], weights=str(home / "models/language"))
    assert language_row("~/models/language").prompt is None


def test_clips_processor_is_read_as_the_table_has_it(home: Path) -> None:
    wanted = VISIONS["clip-vit-large-patch14-336"]
    config = {"model_type": "clip", "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14}}
    prepared = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}, "do_center_crop": True}
    prepared |= {"image_mean": wanted.mean, "image_std": wanted.std, "resample": 3}
    (home / "models/vision/config.json").write_text(json.dumps(config))
    (home / "models/vision/preprocessor_config.json").write_text(json.dumps(prepared))
    assert replace(VISIONS["~/models/vision"], weights=wanted.weights) == wanted


def test_naflex_and_aimv2_are_read_as_the_table_has_them(home: Path) -> None:
    """NaFlex's files name no size, and leave out what is the class's default; AIMv2's are an encoder's alone."""
    naflex, aimv2 = VISIONS["siglip2-so400m-patch16-naflex"], VISIONS["aimv2-large-patch14-336"]
    config = {"model_type": "siglip2", "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27}}
    prepared = {
        "image_mean": naflex.mean,
        "image_std": naflex.std,
        "resample": 2,
        "max_num_patches": 256,
        "patch_size": 16,
    }
    (home / "models/vision/config.json").write_text(json.dumps(config))
    (home / "models/vision/preprocessor_config.json").write_text(json.dumps(prepared))
    assert replace(VISIONS["~/models/vision"], weights=naflex.weights) == naflex
    config = {"model_type": "aimv2_vision_model", "hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14}
    prepared = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}, "do_center_crop": True}
    prepared |= {"image_mean": aimv2.mean, "image_std": aimv2.std, "resample": 3}
    (home / "models/vision/config.json").write_text(json.dumps(config))
    (home / "models/vision/preprocessor_config.json").write_text(json.dumps(prepared))
    assert replace(VISIONS["~/models/vision"], weights=aimv2.weights) == aimv2


@pytest.mark.parametrize(
    ("file", "values", "told"),
    [
        (
            "config.json",
            {"model_type": "resnet"},
            "model type 'resnet' is not known here; expected one of clip_vision_model",
        ),
        ("config.json", {"hidden_size": None}, "neither config.json nor preprocessor_config.json says 'hidden_size'"),
        ("config.json", {"auto_map": {}}, "brings its own code"),
        ("preprocessor_config.json", {"size": {"height": 72, "width": 36}}, "says no square size"),
        ("preprocessor_config.json", {"resample": 1}, r"resample = 1; expected 2 \(bilinear\) or 3"),
    ],
)
def test_what_a_folder_does_not_say_is_one_line(home: Path, file: str, values: dict[str, Any], told: str) -> None:
    change(home / "models/vision" / file, **values)
    with pytest.raises(BadInput, match=told) as caught:
        VISIONS["~/models/vision"]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "name", "told"),
    [
        ("vision", "toy-vitt", "unknown vision encoder 'toy-vitt'; nearest: 'toy-vit'"),
        ("vision", "/no/such", "vision encoder '/no/such': no config.json there; expected a key of parts/vision.py"),
        ("language", "toy-llama=/no/such", "language model '/no/such': no config.json there"),
        ("language", "phi-3=/no/such", "no config.json there"),
        ("language", "~nobody-here/models", "there is no home folder for '~nobody-here'"),
    ],
)
def test_what_is_no_place_is_one_line(field: str, name: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        load("toy", {f"model.{field}": name})


def test_a_gguf_file_says_how_it_becomes_a_folder(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()
    with pytest.raises(
        BadInput, match=r"a file; expected the folder that holds config.json; `tinyllava import .* makes"
    ):
        language_row(str(tmp_path / "small.gguf"))


def test_check_prices_local_folders_from_their_config(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(home / "models/language/config.json", num_hidden_layers=2)  # half of toy-llama's blocks
    places = (
        "model.vision=~/models/vision",
        "model.language=~/models/language",
        "sft.prompt=short",
        "pretrain.prompt=plain",
    )
    words = ["check", "toy", "--set", *places, "--workspace", str(home / "none"), "--json"]
    assert main(words) == 0
    rows = {row[""]: row for row in json.loads(capsys.readouterr().out)}
    block = 4 * 128 * 128 + 3 * 128 * 384 + 2 * 128  # attention, the gated layer, two norms
    assert "vision, 853,376" in rows
    whole = next(int(name.split(", ")[1].replace(",", "")) for name in rows if name.startswith("language"))
    assert 933_248 - whole == 2 * block


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub with the toy world's encoder under owner/name."""
    with serving(ModelHub(files_of(TOY_BACKBONES / "vision"))) as found:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield found


def test_a_hubs_name_is_a_row_by_its_two_small_files_which_are_fetched_once(world: ModelHub) -> None:
    assert VISIONS["owner/name"] == replace(VISIONS["toy-vit"], weights="owner/name")
    asked = len(world.asked)
    assert VISIONS["owner/name"].width == 128
    assert len(world.asked) == asked
    assert not any(path.endswith(".safetensors") for path in world.asked)
    assert COMMIT in str(world.asked)


def test_a_hubs_name_that_is_not_there_is_one_line(world: ModelHub) -> None:
    with pytest.raises(BadInput, match=r"owner/other: .* is not there, or private"):
        load("toy", {"model.vision": "owner/other"})
