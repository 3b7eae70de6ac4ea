"""Numbers of parameters, to the last one: published totals, the facts of the paper's recipes, and the half without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.part_counts import part_counts
from tinyllava_core.model import trainable
from tinyllava_core.model.assemble import skeleton
from tinyllava_core.model.connector import build
from tinyllava_core.model.table import KINDS, count_all
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.parts import CONNECTORS, LANGUAGES, VISIONS
from tinyllava_core.parts.connector import connector_shape
from tinyllava_core.recipe import Recipe, load
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.training import Training

COUNTS = Path(__file__).with_name("counts.json")  # of every row: of all, of a block, of what nothing depends on
CLIP, SIGLIP = "clip-vit-large-patch14-336", "siglip-so400m-patch14-384"
DINO, MIXTURE = "dinov2-large-patch14-224", "clip-dinov2-large-patch14-224"

# Totals that the models' pages give; a row of the embedding for <image> is added where the tokenizer fills all of them.
PUBLISHED = {
    "tinyllama-1.1b": 1_100_048_384,
    "stablelm-2-1.6b": 1_644_417_024
    + 24 * 2 * 2048,  # its page leaves out the biases of the blocks' norms, which it says are there
    "phi-2": 2_779_683_840,
    "gemma-2b-it": 2_506_172_416,
    "gemma-2-2b": 2_614_341_888,
    "qwen2-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "qwen3-4b": 4_022_468_096,
    "qwen3.5-0.8b": 752_393_024,  # the text model of a checkpoint that has an encoder of its own
    "qwen3.5-4b": 4_205_751_296,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b-it": 999_885_952,
    "smollm3-3b": 3_075_098_624,
    "llama-3.2-1b-instruct": 1_235_814_400,
    "llama-3.2-3b-instruct": 3_212_749_824,
    "olmo-2-1b": 1_484_916_736,
    "phi-4-mini": 3_836_021_760,
    "granite-3.3-2b": 2_533_539_840,
    "lfm2-350m": 354_483_968,
    "lfm2-700m": 742_489_344,
    "lfm2-1.2b": 1_170_340_608,
}


def training(**parts: int | None) -> Training:
    chosen = {"connector": 0} | parts
    sections = {part: {"trainable_from_layer": first} for part, first in chosen.items()}
    return Training.parse({"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-3} | sections, "test")


def test_the_kept_numbers_are_those_of_tensors_on_the_meta_device() -> None:
    made_up = {"tiny", "test-vit", "test-llama"}  # rows that tests add
    for part, table in KINDS.items():
        kept = json.loads(COUNTS.read_text())[part]
        assert set(kept) == set(table) - made_up
        for (name, row), found in zip(kept.items(), count_all([(part, name) for name in kept]), strict=True):
            assert {key: found[key] for key in ("total", "behind")} == {key: row[key] for key in ("total", "behind")}, (
                name
            )
            for key, kind in (("block", "blocks"), ("linear", "linear")):  # of one size, but in hybrids
                assert sorted(set(found[kind])) == (row[key] if isinstance(row[key], list) else [row[key]]), name
            assert found["checked"] == name.startswith("toy"), name  # no configuration of a hub's is on this disk


def test_totals_are_the_published_ones() -> None:
    kept = json.loads(COUNTS.read_text())
    for name, total in PUBLISHED.items():
        row = LANGUAGES[name]
        config = row.config
        assert config is not None
        added = max(0, (row.num_tokens or 0) + 1 - config["vocab_size"])
        assert added in (0, 1)
        tables = 1 if config.get("tie_word_embeddings") else 2
        assert kept["language"][name]["total"] == total + added * tables * row.width, name
    assert kept["vision"][CLIP]["total"] == 303_507_456
    assert kept["vision"][SIGLIP]["total"] == 428_225_600


def test_every_row_has_its_widths_and_layers_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    for name in json.loads(COUNTS.read_text())["language"]:
        row = LANGUAGES[name]
        (line,) = [line for line in page if line.startswith(f"| `{name}` |")]
        assert f"| {row.num_layers} x {row.width} |" in line, name


@pytest.mark.parametrize(
    ("vision", "language", "expected"),
    [
        (CLIP, "tinyllama-1.1b", 6_295_552),
        (CLIP, "stablelm-2-zephyr-1.6b", 6_295_552),
        (CLIP, "gemma-2b-it", 6_295_552),
        (CLIP, "qwen2.5-3b", 6_295_552),
        (CLIP, "phi-2", 9_180_160),
        (SIGLIP, "tinyllama-1.1b", 6_557_696),
        (SIGLIP, "phi-2", 9_507_840),
        (SIGLIP, "qwen2-0.5b", 1_836_800),
    ],
)
def test_base_pretrain_trains_the_mlp_alone(vision: str, language: str, expected: int) -> None:
    rows = part_counts(Model(vision=vision, language=language), training())
    assert [row.num_trained for row in rows] == [0, expected, 0]


@pytest.mark.parametrize(("vision", "blocks", "trained"), [(CLIP, 11, 138_558_464), (SIGLIP, 14, 213_353_056)])
def test_share_trains_the_encoder_from_block_12_up_to_the_layer_that_is_read(
    vision: str, blocks: int, trained: int
) -> None:
    """138.6 M of 303.5 M, 213.4 M of 428.2 M: blocks 12 .. n - 2."""
    row = part_counts(Model(vision=vision, language="phi-2"), training(vision=12))[0]
    kept = json.loads(COUNTS.read_text())["vision"][vision]
    assert row.num_trained == trained == blocks * kept["block"]


@pytest.mark.parametrize("vision", [CLIP, SIGLIP, DINO, MIXTURE])
@pytest.mark.parametrize("first", [0, 12, None])
def test_the_half_without_torch_counts_what_the_model_would_train(vision: str, first: int | None) -> None:
    parts, stage = Model(vision=vision, language="qwen2-0.5b"), training(vision=first, language=first)
    model = skeletons(vision)
    trainable.choose(model, stage)
    for row in part_counts(parts, stage):
        mine = [p for name, p in model.named_parameters() if part_of(name) == row.part]
        trained = [p for p in mine if p.requires_grad]
        assert row.num_parameters == sum(p.numel() for p in mine), row.part
        assert row.num_trained == sum(p.numel() for p in trained), row.part


@pytest.mark.parametrize(
    ("model", "language"),
    [
        ({"image_mode": "anyres"}, "qwen2-0.5b"),
        ({"image_mode": "tiles", "vision_layer": "final"}, "tinyllama-1.1b"),
        ({"image_mode": "tiles", "vision_layer": "final"}, "smollm2-135m"),
        ({"vision": "aimv2-large-patch14-224", "vision_layer": "final"}, "smollm2-135m"),
        ({"image_mode": "native", "tiling": {"max_patches": 1024}, "vision_layer": "final"}, "smollm2-135m"),
    ],
)
def test_what_cutting_pictures_adds_is_counted_too(model: dict[str, Any], language: str) -> None:
    parts = Model.parse({"vision": SIGLIP, "language": language} | model, "test")
    made, stage = skeleton(parts), training(vision=0, language=0)
    trainable.choose(made, stage)
    for row in part_counts(parts, stage):
        mine = [p for name, p in made.named_parameters() if part_of(name) == row.part]
        assert row.num_parameters == sum(p.numel() for p in mine), row.part
        assert row.num_trained == sum(p.numel() for p in mine if p.requires_grad), row.part


def test_every_connector_has_the_parameters_that_its_row_counts() -> None:
    language_width = 2048
    for kind, row in CONNECTORS.items():
        vision = VISIONS[MIXTURE if row.needs_mixture else SIGLIP]
        if row.same_width:
            language_width = vision.width
        tried: list[dict[str, Any]] = [{}, *[{"layers": 4}] * (row.layers is not None), *[{"shrink": 9}] * row.shrinks]
        for options in tried + [{"norm": True}] * row.norms:
            given: dict[str, Any] = {"layers": None, "queries": None, "shrink": None} | options
            shape = connector_shape(kind, vision, language_width, **given)
            with torch.device("meta"):
                module = build(shape)
            assert sum(p.numel() for p in module.parameters()) == shape.num_parameters, (kind, options)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"sft": {"vision": {"trainable_from_layer": 26}}},
            r"sft\.vision\.trainable_from_layer = 26: the last block .* is 25",
        ),
        ({"sft": {"language": {"trainable_from_layer": 24}}}, r"sft\.language\.trainable_from_layer = 24: .* is 23"),
    ],
)
def test_a_part_with_nothing_to_train_is_refused_by_name(change: dict[str, dict[str, object]], text: str) -> None:
    stage = {"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-3}
    data = {
        "name": "x",
        "model": {"vision": SIGLIP, "language": "qwen2-0.5b"},
        "pretrain": stage,
        "sft": stage | change["sft"],
    }
    with pytest.raises(BadInput, match=text):
        Recipe.parse(data, "test")


def test_a_connector_without_parameters_cannot_be_trained() -> None:
    stage = {"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-3}
    model = {"vision": "toy-vit", "language": "toy-llama", "connector": "identity"}
    with pytest.raises(
        BadInput, match=r"pretrain\.connector\.trainable_from_layer = 0: connector 'identity' has no parameters"
    ):
        Recipe.parse({"name": "x", "model": model, "pretrain": stage, "sft": stage}, "test")


_SKELETONS: dict[str, TinyLlava] = {}


def skeletons(vision: str) -> TinyLlava:
    """Make each encoder's once."""
    if vision not in _SKELETONS:
        _SKELETONS[vision] = skeleton(Model(vision=vision, language="qwen2-0.5b"))
    return _SKELETONS[vision]


def test_the_page_of_models_has_every_row_with_its_number() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    for rows in json.loads(COUNTS.read_text()).values():
        for name, row in rows.items():
            assert any(line.startswith(f"| `{name}` |") and f" {row['total']:,} " in line for line in lines), name
    for name in CONNECTORS:
        assert any(line.startswith(f"| `{name}` |") for line in lines), name


def test_nanovlm_trains_460_million() -> None:
    """Its encoder without the pooling head, 12,288 x 960 between, SmolLM2-360M and rows for <image>, the whole and 4 x 4 places."""
    recipe = load("nanovlm")
    rows = part_counts(recipe.model_in("sft"), recipe.training("sft"))
    assert [row.num_trained for row in rows] == [86_433_024, 11_796_480, 361_821_120 + 18 * 960]
