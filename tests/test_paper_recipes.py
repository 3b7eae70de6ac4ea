"""The recipes that follow the paper: every number against the public scripts, written here a second time."""

from __future__ import annotations

import math

import pytest

from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.recipe import load

RECORDS = {
    "llava-pretrain-558k": 558_128,
    "llava-sft-665k": 665_298,
    "sharegpt4v-pretrain-1246k": 1_246_901,
    "sharegpt4v-sft-665k": 665_058,  # the cleaned copy that the scripts name
}
PRETRAIN = {"lr": 1e-3, "batch": 256, "steps": 2181, "image_mode": "square", "trained": (None, 0, None)}
SECOND = {"lr": 2e-5, "batch": 256, "steps": 4871, "image_mode": "square", "trained": (12, 0, 0)}
SFT = {"lr": 2e-5, "batch": 128, "steps": 5198, "image_mode": "pad", "trained": (None, 0, 0)}
STAGES = {
    "base": {"pretrain": PRETRAIN, "sft": SFT},
    "base_factory": {"pretrain": PRETRAIN, "sft": SFT | {"image_mode": "square"}},
    "share": {"pretrain": PRETRAIN, "second_pretrain": SECOND, "sft": SFT | {"steps": 5196}},
    "share_frozen_vision": {
        "pretrain": PRETRAIN,
        "second_pretrain": SECOND | {"trained": (None, 0, 0)},
        "sft": SFT | {"steps": 5196, "image_mode": "square"},
    },
    "full": {"pretrain": PRETRAIN, "sft": SFT | {"trained": (0, 0, 0)}},
    "lora": {"pretrain": PRETRAIN, "sft": SFT | {"lr": 2e-4}},
    "qlora": {"pretrain": PRETRAIN, "sft": SFT | {"lr": 2e-4}},
}
MAX_LENGTH = {
    "base": 3072,
    "base_factory": 2048,
    "share": 3072,
    "share_frozen_vision": 3072,
    "full": 3072,
    "lora": 3072,
    "qlora": 3072,
}


@pytest.mark.parametrize("name", STAGES)
def test_the_numbers_of_every_stage_are_the_public_scripts(name: str) -> None:
    recipe = load(name)
    assert recipe.stages() == tuple(STAGES[name])
    for stage, expected in STAGES[name].items():
        training = recipe.training(stage)
        records = sum(RECORDS[entry.source] for entry in training.mix)
        assert {
            "lr": training.lr,
            "batch": training.global_batch,
            "steps": math.ceil(records / training.global_batch),
            "image_mode": recipe.model_in(stage).image_mode,
            "trained": tuple(training.part(part).trainable_from_layer for part in ("vision", "connector", "language")),
        } == expected, stage
        assert training.max_length == MAX_LENGTH[name]


@pytest.mark.parametrize("name", STAGES)
def test_what_all_stages_have_in_common(name: str) -> None:
    """One epoch, cosine behind a warm-up of 3 %, no weight decay, one rate for all parts, every share whole."""
    recipe = load(name)
    for stage in recipe.stages():
        training = recipe.training(stage)
        assert (training.epochs, training.schedule, training.warmup_fraction) == (1, "cosine", 0.03)
        assert (training.weight_decay, training.betas, training.max_grad_norm) == (0, (0.9, 0.999), 1.0)
        assert training.gradient_checkpointing
        assert all(entry.share == 1 and entry.cap is None for entry in training.mix)
        assert all(training.part(part).lr is None for part in ("vision", "connector", "language"))
        assert training.prompt == ("plain" if stage != "sft" else None)
        assert (training.group_by == "modality") == (stage == "sft" and "lora" not in name)
        assert training.writing.image_place == "front"


def test_the_adapters_are_the_factorys() -> None:
    for name, quantize in (("lora", None), ("qlora", "nf4")):
        adapters = load(name).sft.language.lora
        assert adapters is not None
        assert (adapters.rank, adapters.alpha, adapters.dropout, adapters.quantize) == (128, 256, 0.05, quantize)
        assert load(name).pretrain.language.lora is None


def test_the_manifests_count_the_same_records() -> None:
    """The count of ShareGPT4V's sft file is not verified, so its manifest has none."""
    counts = {name: load_manifest(name).annotations.count for name in RECORDS}
    assert counts == RECORDS | {"sharegpt4v-sft-665k": None}


@pytest.mark.parametrize("name", STAGES)
def test_every_source_and_benchmark_has_its_manifest(name: str) -> None:
    recipe = load(name)
    for stage in recipe.stages():
        assert {load_manifest(entry.source).kind for entry in recipe.training(stage).mix} == {"source"}
    assert {load_manifest(benchmark).kind for benchmark in recipe.evaluate.benchmarks} == {"benchmark"}
    assert len(recipe.evaluate.benchmarks) == 10


@pytest.mark.parametrize("name", STAGES)
def test_the_model_is_the_papers_largest(name: str) -> None:
    model = load(name).model
    assert (model.vision, model.language) == ("siglip-so400m-patch14-384", "phi-2")
    assert (model.connector, model.shape.layers, model.vision_layer) == ("mlp", 2, -2)


def test_warm_up_and_steps_of_base_are_those_of_the_scripts() -> None:
    """66 of 2,181 and 156 of 5,198 steps: ceil of 3 %."""
    assert [math.ceil(load("base").training(stage).warmup_fraction * n) for stage, n in (("pretrain", 2181), ("sft", 5198))] == [66, 156]  # fmt: skip


def test_nanovlm_is_its_authors_model_and_their_single_stage() -> None:
    """Against models/config.py and train.py of nanoVLM, commit 4e0c096. A 640 x 480 picture is 832 tokens there too."""
    recipe = load("nanovlm")
    model, sft = recipe.model, recipe.training("sft")
    assert recipe.stages() == ("sft",)
    assert (model.vision, model.language) == ("siglip2-base-patch16-512", "smollm2-360m-instruct")
    assert (model.shape.kind, model.shape.shrink, model.tokens_per_image) == ("pixel-shuffle-linear", 4, 64)
    assert model.shape.num_parameters == 16 * 768 * 960
    assert (model.scheme.cut(640, 480).tokens, model.scheme.cut(640, 480).whole) == (832, "first")
    rates = {part: sft.part(part).lr or sft.lr for part in ("vision", "connector", "language")}
    assert rates == {"vision": 5e-5, "connector": 5.12e-3, "language": 5e-5}
    assert all(sft.part(part).trainable_from_layer == 0 for part in rates)
    assert (sft.schedule, sft.warmup_fraction, sft.final_lr_fraction, sft.max_grad_norm) == ("cosine", 0.03, 0.1, 1.0)
    assert (sft.max_length, sft.pack_length, sft.prompt) == (4096, 4096, "chatml")
    records = load_manifest("finevision").about_records
    assert records is not None
    assert abs(math.ceil(records * sft.epochs / sft.global_batch) / 40_000 - 1) < 0.02
    assert {load_manifest(benchmark).kind for benchmark in recipe.evaluate.benchmarks} == {"benchmark"}
