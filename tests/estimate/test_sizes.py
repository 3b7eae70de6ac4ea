"""Sizes of parts: counted by a process of its own, kept, and counted again when what they come from is another."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tiny import make_parts

from tinyllava_core import cli
from tinyllava_core.errors import BadInput
from tinyllava_core.estimate import sizes as module
from tinyllava_core.estimate.sizes import cache_folder, sizes, unchecked
from tinyllava_core.model.table import count, count_all
from tinyllava_core.settings.model import Model

TOY = Model(vision="toy-vit", language="toy-llama")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and tables of two rows, so that counting all of them is quick."""
    monkeypatch.setenv("TINYLLAVA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "VISIONS", {"toy-vit": module.VISIONS["toy-vit"]})
    monkeypatch.setattr(module, "LANGUAGES", {"toy-llama": module.LANGUAGES["toy-llama"]})
    return tmp_path


def never(*_: object, **__: object) -> None:
    raise AssertionError("a process was started")


def test_a_part_is_counted_once_and_said_so(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Toy's language model is Llama: 4 blocks of 4 matrices 128 x 128 (2 of them half as wide), 3 of 128 x inner, 2 norms."""
    first = sizes(TOY)
    assert "counting the parameters" in capsys.readouterr().err
    assert (first[0].total, first[1].total) == (853_376, 933_248)
    assert (first[1].blocks, len(first[0].blocks)) == ((first[1].blocks[0],) * 4, 4)
    monkeypatch.setattr(subprocess, "run", never)
    assert sizes(TOY) == first
    assert capsys.readouterr().err == ""
    assert unchecked(TOY) == []

    (spoilt, _) = sorted(cache_folder().iterdir())
    spoilt.write_text("")
    with pytest.raises(AssertionError, match="a process was started"):  # counted again
        sizes(TOY)


def test_another_version_of_transformers_counts_again(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = module._file(("language", "toy-llama"))
    monkeypatch.setattr(module, "version", lambda _: "99.0")
    assert module._file(("language", "toy-llama")) != kept


def test_a_language_model_of_ones_own_is_counted_from_its_folder(empty: Path) -> None:
    """Width 24, inner 48, 2 heads, 1 of keys, 2 layers, 400 words, head not tied: by hand."""
    make_parts(empty / "parts")
    block = 24 * 24 + 2 * 24 * 12 + 24 * 24 + 3 * 24 * 48 + 2 * 24
    size = sizes(Model(vision="toy-vit", language=str(empty / "parts" / "language")))[1]
    assert size.blocks == (block, block)
    assert size.total == 2 * block + 2 * 400 * 24 + 24
    assert size.last_mlp == 3 * 24 * 48
    assert size.linear[0] == 4 * 24 + 2 * (24 + 12) + 3 * (24 + 48)
    assert (size.attention_width, size.vocabulary, size.checked) == (24, 400, True)


def test_a_row_added_by_hand_stops_no_other_from_being_counted() -> None:
    found = count_all([("vision", "of-another-process"), ("vision", "toy-vit")])
    assert found[0]["fault"].startswith("unknown vision encoder 'of-another-process'")
    assert found[1]["total"] == 853_376


def test_a_folder_that_cannot_be_counted_is_one_line(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = empty / "odd" / "model"
    folder.mkdir(parents=True)
    odd = {"model_type": "falcon", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 9}
    (folder / "config.json").write_text(json.dumps(odd))
    words = ["check", "toy", "--set", f"model.language={folder}", "pretrain.prompt=plain"]
    assert cli.main([*words, "sft.prompt=vicuna", "--workspace", str(empty)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith(f"error: language {str(folder)!r} cannot be counted: ")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache that holds Phi-2's config.json, and CLIP's whole one; gives Phi-2's folder."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    phi = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32, "num_attention_heads": 32}
    phi |= {"model_type": "phi", "vocab_size": 51200, "num_key_value_heads": 32, "partial_rotary_factor": 0.4}
    clip = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    clip |= {"model_type": "clip_vision_model", "patch_size": 14, "image_size": 336, "projection_dim": 768}
    for name, config in (
        ("microsoft--phi-2", phi | {"tie_word_embeddings": False}),
        ("openai--clip-vit-large-patch14-336", {"model_type": "clip", "vision_config": clip}),
    ):
        folder = tmp_path / f"models--{name}"
        (folder / "snapshots" / "abc").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")
        (folder / "snapshots" / "abc" / "config.json").write_text(json.dumps(config))
    return tmp_path / "models--microsoft--phi-2" / "snapshots" / "abc"


def test_a_row_is_held_against_the_models_own_configuration_where_the_hubs_cache_has_it(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phi, clip = count("language", "phi-2"), count("vision", "clip-vit-large-patch14-336")
    assert (phi["checked"], phi["total"]) == (True, 2_779_683_840)
    assert (clip["checked"], clip["total"]) == (True, 303_507_456)
    known = module._file(("language", "phi-2"))
    config = json.loads((hub / "config.json").read_text())
    (hub / "config.json").write_text(json.dumps(config | {"intermediate_size": 10241}))
    assert (
        module._file(("language", "phi-2")) != known
    )  # what was counted from the other file does not stand for this one
    with pytest.raises(
        BadInput, match=r"language 'phi-2': intermediate_size is 10241, its row in parts/architecture\.py"
    ):
        count("language", "phi-2")
