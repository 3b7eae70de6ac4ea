"""Checkpoints of other programs, written here as they write them with tiny weights: imported, they give the same logits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from model import matrix
from safetensors.torch import save_file
from tiny import make_tokenizer
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration

from tinyllava_core.errors import BadInput
from tinyllava_core.model import checkpoint
from tinyllava_core.model.foreign.importer import bring_in, main
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts import VISIONS

FACTORY = (
    ("model.vision_tower.clip.", "vision_tower._vision_tower.clip.vision_model."),
    ("model.vision_tower.dinov2.", "vision_tower._vision_tower.dinov2."),
    ("model.vision_tower.", "vision_tower._vision_tower.vision_model."),
    ("model.multi_modal_projector.first.linear_", "connector._connector.clip.#"),
    ("model.multi_modal_projector.second.linear_", "connector._connector.dinov2.#"),
    ("model.multi_modal_projector.linear_", "connector._connector.#"),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
LLAVA = (
    ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
    ("model.multi_modal_projector.linear_", "model.mm_projector.#"),
    ("model.language_model.", "model."),
    ("lm_head.", "lm_head."),
)
RESAMPLER = (
    (".queries", ".latents"),
    (".attention.norm_features.", ".0.norm_media."),
    (".attention.norm_queries.", ".0.norm_latents."),
    (".attention.", ".0."),
    (".enter.", ".1.1."),
    (".leave.", ".1.3."),
)
WEIGHTS = {"tiny-clip": "some/clip", "tiny-siglip": "some/siglip", "tiny-dinov2": "some/dinov2", "tiny-mixture": ""}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    with pytest.MonkeyPatch.context() as patch:
        matrix.add_rows(patch, folder)
        for key, weights in WEIGHTS.items():
            patch.setitem(VISIONS, key, dataclasses.replace(VISIONS[key], weights=weights))
        yield folder


def renamed(model: TinyLlava, rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Name weights as another program does; # stands for the place of a linear layer among activations."""
    found = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        ours, theirs = next(rule for rule in rules if name.startswith(rule[0]))
        rest = name.removeprefix(ours)
        if theirs.endswith("#"):
            number, rest = rest.split(".", 1)
            theirs, rest = theirs[:-1], f"{2 * (int(number) - 1)}.{rest}"
        found[theirs + rest] = tensor.clone()
    return found


def factory_config(vision: str, family: str, connector: str = "mlp2x_gelu", **more: Any) -> dict[str, Any]:
    return {
        "model_type": "tinyllava",
        "connector_type": connector,
        "vision_model_name_or_path": WEIGHTS[vision] or WEIGHTS["tiny-clip"],
        "llm_model_name_or_path": f"some/{family}",
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "patch",
        "image_aspect_ratio": "square",
        "image_token_index": -200,
        "text_config": matrix.FAMILIES[family],
        "vision_config": matrix.ENCODERS[vision],
        **more,
    }


def write(folder: Path, config: dict[str, Any], weights: dict[str, Tensor], tokenizer: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for file in tokenizer.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if weights:
        save_file(weights, folder / "model.safetensors")
    return folder


def asked(num_tokens: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(5)
    words = torch.randint(3, matrix.VOCABULARY, (7,), generator=draw).tolist()
    pixels = torch.randn(1, 3, 32, 32, generator=draw)
    return {"input_ids": torch.tensor([[matrix.IMAGE_ID] * num_tokens + words]), "pixel_values": pixels}


@torch.no_grad()
def logits(model: Any, num_tokens: int = 16) -> Tensor:
    found: Tensor = model(**asked(num_tokens)).logits
    return found


def imported(folder: Path, **options: Any) -> checkpoint.Loaded:
    bring_in(folder, folder.with_name("imported"), **options)
    return checkpoint.load(folder.with_name("imported"))


@pytest.mark.parametrize("family", ["llama", "phi", "stablelm", "qwen2"])
def test_factory_in_one_file(family: str, tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-clip", "mlp", family))
    folder = write(tmp_path / "theirs", factory_config("tiny-clip", family), renamed(model, FACTORY), tokenizer)
    found = imported(folder)
    torch.testing.assert_close(logits(found.model), logits(model), atol=1e-5, rtol=1e-5)
    assert (found.card.prompt, found.image_mode, found.tokens_per_image) == ("vicuna", "square", 16)


def test_factory_with_siglip_loses_its_first_patch_as_it_was_trained(tokenizer: Path, tmp_path: Path) -> None:
    """15 tokens of 16: reading all of them gives other logits."""
    model = matrix.make(matrix.choice("tiny-siglip", "mlp", "llama"))
    folder = write(tmp_path / "theirs", factory_config("tiny-siglip", "llama"), renamed(model, FACTORY), tokenizer)
    found = imported(folder)
    assert found.tokens_per_image == 15
    with torch.no_grad():
        expected = model.image_tokens(asked(15)["pixel_values"])[:, 1:]
        torch.testing.assert_close(found.model.image_tokens(asked(15)["pixel_values"]), expected, atol=1e-6, rtol=1e-5)
    assert logits(found.model, 15).shape == (1, 22, matrix.VOCABULARY)


def test_factory_with_gemma_keeps_the_factor_that_its_code_put_on_image_tokens(tokenizer: Path, tmp_path: Path) -> None:
    """That code multiplied words and image tokens by sqrt(width); transformers 5 multiplies words alone."""
    model = matrix.make(matrix.choice("tiny-clip", "mlp", "gemma"))
    folder = write(tmp_path / "theirs", factory_config("tiny-clip", "gemma"), renamed(model, FACTORY), tokenizer)
    given = asked(16)
    with torch.no_grad():
        words = model.get_input_embeddings()(given["input_ids"][:, 16:])
        together = torch.cat([model.image_tokens(given["pixel_values"]) * matrix.WIDTH**0.5, words], 1)
        expected = model.lm_head(model.model.language_model(inputs_embeds=together).last_hidden_state)
    torch.testing.assert_close(logits(imported(folder).model), expected, atol=1e-4, rtol=1e-4)


def test_factory_in_parts_with_and_without_an_adapter(tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-clip", "mlp", "llama"))
    folder = write(tmp_path / "theirs", factory_config("tiny-clip", "llama"), {}, tokenizer)
    parts: dict[str, dict[str, Tensor]] = {"language_model": {}, "vision_tower": {}, "connector": {}}
    for name, tensor in renamed(model, FACTORY).items():
        part, rest = name.split(".", 1)
        parts[part][rest.removeprefix("_vision_tower.")] = tensor
    for part, weights in parts.items():
        (folder / part).mkdir()
        torch.save(weights, folder / part / "pytorch_model.bin")
    torch.testing.assert_close(logits(imported(folder).model), logits(model), atol=1e-5, rtol=1e-5)

    inside = {name.replace("q_proj.", "q_proj.base_layer."): tensor for name, tensor in parts["language_model"].items()}
    torch.save(inside, folder / "language_model" / "pytorch_model.bin")
    down, up = torch.randn(4, matrix.WIDTH), torch.randn(matrix.WIDTH, 4)
    module = "language_model.model.layers.1.self_attn.q_proj"
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    adapter = {f"base_model.model.{module}.lora_A.weight": down, f"base_model.model.{module}.lora_B.weight": up}
    save_file(adapter, folder / "adapter_model.safetensors")
    with torch.no_grad():
        model.model.language_model.layers[1].self_attn.q_proj.weight += 2.0 * up @ down  # alpha / r = 2
    torch.testing.assert_close(logits(imported(folder).model), logits(model), atol=1e-4, rtol=1e-4)


def test_factory_with_a_mixture_of_encoders(tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-mixture", "mixture-mlp", "llama"))
    old = (
        ("q_proj", "attention.query"),
        ("k_proj", "attention.key"),
        ("v_proj", "attention.value"),
        ("o_proj", "output.dense"),
    )
    weights = {}
    for name, tensor in renamed(model, FACTORY).items():
        for now, then in old:
            name = name.replace(f".attention.{now}.", f".attention.{then}.")
        weights[name] = tensor
    config = factory_config("tiny-mixture", "llama", "mof_mlp", vision_model_name_or_path2="some/dinov2")
    found = imported(write(tmp_path / "theirs", config, weights, tokenizer))
    torch.testing.assert_close(logits(found.model, 32), logits(model, 32), atol=1e-5, rtol=1e-5)


def test_factory_with_a_resampler(tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-clip", "resampler", "llama"))
    weights = {}
    for name, tensor in renamed(model, (("model.multi_modal_projector.", "connector._connector."), *FACTORY)).items():
        if name.startswith("connector."):
            inside = name.replace(".blocks.", ".layers.")
            inside = inside.replace(".norm.", ".1.0.") if ".layers." in inside else inside
            for ours, theirs in RESAMPLER:
                inside = inside.replace(ours, theirs, 1)
            name = inside
        weights[name] = tensor
    config = factory_config("tiny-clip", "llama", "resampler", num_queries=4, num_resampler_layers=1)
    assert "connector._connector.layers.0.1.0.weight" in weights
    found = imported(write(tmp_path / "theirs", config, weights, tokenizer))
    torch.testing.assert_close(logits(found.model, 4), logits(model, 4), atol=1e-5, rtol=1e-5)


def test_factory_with_a_qformer(tokenizer: Path, tmp_path: Path) -> None:
    """Theirs has no scale and no shift on its queries, so ours are one and zero in the model that is written."""
    model = matrix.make(matrix.choice("tiny-clip", "qformer", "llama"))
    weights = {}
    for name, tensor in renamed(model, (("model.multi_modal_projector.", "connector._connector."), *FACTORY)).items():
        if name.startswith("connector._connector.bert.layernorm."):
            continue
        name = name.replace("_connector.queries", "_connector.query_tokens").replace(
            "_connector.linear.", "_connector.projector."
        )
        name = name.replace("attention.attention.", "attention.self.") if name.startswith("connector.") else name
        weights[name] = tensor[None] if name.endswith("query_tokens") else tensor
    config = factory_config("tiny-clip", "llama", "qformer", num_queries=4)
    found = imported(write(tmp_path / "theirs", config, weights, tokenizer))
    torch.testing.assert_close(logits(found.model, 4), logits(model, 4), atol=1e-5, rtol=1e-5)


def test_tinyllavabench_whose_encoder_has_a_block_less_and_no_head(tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-siglip", "mlp", "stablelm"))
    weights = {
        name: tensor
        for name, tensor in renamed(model, LLAVA).items()
        if not any(piece in name for piece in (".layers.2.", "post_layernorm", ".head.")) or "vision_tower" not in name
    }
    config = matrix.FAMILIES["stablelm"] | {
        "model_type": "tiny_llava_stablelm",
        "architectures": ["TinyLlavaStablelmForCausalLM"],
        "mm_vision_tower": "some/siglip",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "image_aspect_ratio": "pad",
    }
    found = imported(write(tmp_path / "theirs", config, weights, tokenizer))
    torch.testing.assert_close(logits(found.model), logits(model), atol=1e-5, rtol=1e-5)
    assert (found.image_mode, found.vision.num_layers, found.tokens_per_image) == ("pad", 2, 16)


def test_llava_1_5_whose_encoder_lies_elsewhere(tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-clip", "mlp", "llama"))
    everything = renamed(model, LLAVA)
    weights = {name: tensor for name, tensor in everything.items() if "vision_tower" not in name}
    (tmp_path / "clip").mkdir()
    apart = {
        name.removeprefix("model.vision_tower.vision_tower."): t
        for name, t in everything.items()
        if "vision_tower" in name
    }
    save_file(apart, tmp_path / "clip" / "model.safetensors")
    config = matrix.FAMILIES["llama"] | {
        "model_type": "llava",
        "architectures": ["LlavaLlamaForCausalLM"],
        "mm_vision_tower": "some/clip",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "image_aspect_ratio": "pad",
    }
    folder = write(tmp_path / "theirs", config, weights, tokenizer)
    found = imported(folder, vision_weights=tmp_path / "clip")
    torch.testing.assert_close(logits(found.model), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("vision", "strategy"), [("tiny-clip", "default"), ("tiny-siglip", "full")])
def test_llava_of_transformers(vision: str, strategy: str, tokenizer: Path, tmp_path: Path) -> None:
    config = LlavaConfig(
        vision_config=matrix.ENCODERS[vision],
        text_config=matrix.FAMILIES["qwen2"],
        image_token_index=matrix.IMAGE_ID,
        vision_feature_select_strategy=strategy,
    )
    torch.manual_seed(3)
    theirs = LlavaForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    for file in tokenizer.iterdir():
        (tmp_path / "theirs" / file.name).write_bytes(file.read_bytes())
    found = imported(tmp_path / "theirs")
    torch.testing.assert_close(logits(found.model), logits(theirs), atol=1e-5, rtol=1e-5)
    assert found.image_mode == "square"
    for name, words in (
        ("processor_config.json", {"image_processor": {"do_pad": True}}),
        ("preprocessor_config.json", {"do_pad": True}),
    ):
        (tmp_path / "theirs" / name).write_text(json.dumps(words))
        assert imported(tmp_path / "theirs").image_mode == "pad"
        (tmp_path / "theirs" / name).unlink()


def test_a_tokenizer_without_an_image_token_gets_one_and_a_row_for_it(tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-clip", "mlp", "llama"))
    plain = json.loads((tokenizer / "tokenizer.json").read_text())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] != "<image>"]
    names = plain["model"]["vocab"]
    del names["<image>"]
    names["<unused>"] = matrix.IMAGE_ID
    for number in range(len(names), matrix.VOCABULARY):
        names[f"<filler {number}>"] = number
    other = tmp_path / "tokenizer"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps(plain))
    (other / "tokenizer_config.json").write_bytes((tokenizer / "tokenizer_config.json").read_bytes())
    folder = write(tmp_path / "theirs", factory_config("tiny-clip", "llama"), renamed(model, FACTORY), other)
    found = imported(folder)
    assert found.model.config.image_token_id == matrix.VOCABULARY
    given = asked(16)
    with torch.no_grad():
        ids = torch.where(given["input_ids"] == matrix.IMAGE_ID, matrix.VOCABULARY, given["input_ids"])
        mine = found.model(input_ids=ids, pixel_values=given["pixel_values"]).logits
    assert mine.shape[-1] == matrix.VOCABULARY + 1
    torch.testing.assert_close(mine[..., :-1], logits(model), atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_together_is_said_in_one_line(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = matrix.make(matrix.choice("tiny-clip", "mlp", "llama"))
    weights = renamed(model, FACTORY)
    with pytest.raises(BadInput, match=r"no config\.json"):
        bring_in(tmp_path, tmp_path / "out")
    faults: list[tuple[dict[str, Any], dict[str, Tensor], str]] = [
        ({"connector_type": "moe"}, weights, "connector 'moe' has no counterpart here"),
        ({"image_aspect_ratio": "anyres"}, weights, "image_aspect_ratio 'anyres'"),
        ({"vision_model_name_or_path": "some/other"}, weights, "no row has the vision encoder 'some/other'"),
        ({"vision_feature_select_strategy": "cls_patch"}, weights, "the class token is kept as an image token"),
        ({}, {name: t for name, t in weights.items() if "lm_head" not in name}, "1 weights missing"),
        (
            {},
            weights | {"extra.weight": torch.zeros(1)},
            "no part of the model is known to have a weight 'extra.weight'",
        ),
    ]
    for change, found, text in faults:
        folder = write(tmp_path / "theirs", factory_config("tiny-clip", "llama") | change, found, tokenizer)
        assert main([str(folder), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert text in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def edit(folder: Path, section: str | None, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (config[section] if section else config).update(values)
    (folder / "config.json").write_text(json.dumps(config))


BAD_FOLDERS = {
    "config.json is empty": lambda folder: (folder / "config.json").write_text(""),
    "config.json is no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "config.json is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "config.json is not text": lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
    "a number is a word": lambda folder: (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"hidden_size": ', '"hidden_size": "many", "was": ')
    ),
    # a model of ten million blocks was built before anybody looked: it never ended
    "more blocks than weights": lambda folder: edit(folder, "text_config", num_hidden_layers=10**7),
    "a state that no encoder has": lambda folder: edit(folder, None, vision_feature_layer=10**30),
    "several states": lambda folder: edit(folder, None, vision_feature_layer=[-2, -1]),
    "no number": lambda folder: edit(folder, None, vision_feature_layer=float("nan")),
    "the weights are cut": lambda folder: cut(folder / "model.safetensors"),
    "the weights are text": lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"),
    "the tokenizer is cut": lambda folder: cut(folder / "tokenizer.json"),
    "the index names no file": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}'),
    ),
}


@pytest.mark.parametrize("fault", BAD_FOLDERS)
def test_a_folder_that_is_broken_is_one_line(
    fault: str, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = matrix.make(matrix.choice("tiny-clip", "mlp", "llama"))
    folder = write(tmp_path / "theirs", factory_config("tiny-clip", "llama"), renamed(model, FACTORY), tokenizer)
    BAD_FOLDERS[fault](folder)
    capsys.readouterr()
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert str(tmp_path) in line
    assert not (tmp_path / "out").exists()
