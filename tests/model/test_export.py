"""An exported folder is what plain transformers loads: equal logits, the same prompt, the same pixels; or a clear refusal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model import matrix
from PIL import Image
from safetensors.torch import load_file
from tiny import make_tokenizer, png
from transformers import AutoImageProcessor, AutoProcessor, LlavaForConditionalGeneration

from tinyllava_core.data.inspect.decode import decode
from tinyllava_core.data.plan.prompt import ask
from tinyllava_core.data.tensors.example import fit, normalise
from tinyllava_core.errors import BadInput
from tinyllava_core.export.__main__ import export
from tinyllava_core.model import checkpoint
from tinyllava_core.model.assemble import assemble
from tinyllava_core.model.processor import image_processor
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts import VISIONS
from tinyllava_core.settings.model import ImageMode, Model
from tinyllava_core.tokenizer import load_tokenizer


@pytest.fixture
def exported(tiny_model: TinyLlava, tiny_choice: Model, tiny_parts: Path, tmp_path: Path) -> Path:
    checkpoint.save(tiny_model, tiny_choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    result = export(tmp_path / "checkpoint", tmp_path / "hf")
    assert result.equal_generations
    assert result.max_logit_difference < 1e-5
    return tmp_path / "hf"


def test_the_processor_of_the_export_gives_our_ids_and_pixels(exported: Path) -> None:
    processor = AutoProcessor.from_pretrained(exported)
    image = png(3, (24, 24))
    messages = [{"role": "user", "content": [{"type": "text", "text": "what colour?"}, {"type": "image"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "USER: <image>\nwhat colour? ASSISTANT:"
    theirs = processor(images=Image.open(io.BytesIO(image)), text=text, return_tensors="pt")
    assert theirs["input_ids"][0].tolist() == ask("short", load_tokenizer(exported), "what colour?", 1, 9)
    mine = normalise(fit(decode(image), VISIONS["tiny"], "square")[None], VISIONS["tiny"])
    torch.testing.assert_close(theirs["pixel_values"], mine, atol=1e-5, rtol=1e-5)


def test_the_export_is_self_contained(exported: Path) -> None:
    names = {file.name for file in exported.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "preprocessor_config.json",
    } <= names
    assert {"processor_config.json", "chat_template.jinja"} <= names
    assert json.loads((exported / "config.json").read_text())["architectures"] == ["LlavaForConditionalGeneration"]
    model, report = LlavaForConditionalGeneration.from_pretrained(exported, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_a_model_that_the_format_cannot_hold_is_refused_with_the_reason(tiny_parts: Path, tmp_path: Path) -> None:
    choice = Model(vision="tiny", language="tiny", connector="linear")
    checkpoint.save(assemble(choice, 1), choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    with pytest.raises(BadInput, match="cannot hold this model exactly: its connector is linear"):
        export(tmp_path / "checkpoint", tmp_path / "hf")


@pytest.mark.parametrize(
    ("vision", "family", "reason"),
    [
        ("tiny-clip", "phi", r"its head has a bias \(Phi\)"),
        ("tiny-clip", "gemma2", r"its logits are soft-capped \(Gemma 2\)"),
        ("tiny-mixture", "llama", "its vision part is two encoders"),
        ("tiny-clip", "gemma", None),
        ("tiny-dinov2", "qwen3", None),
    ],
)
def test_each_part_that_the_format_cannot_hold_is_named(
    vision: str, family: str, reason: str | None, tmp_path: Path
) -> None:
    tokenizer = tmp_path / "tokenizer"  # alone: the rows say what the language model is
    tokenizer.mkdir()
    make_tokenizer(tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        matrix.add_rows(patch, tokenizer)
        choice = matrix.choice(vision, "mlp", family)
        checkpoint.save(matrix.make(choice), choice, "short", tokenizer, tmp_path / "checkpoint")
        if reason is None:
            assert export(tmp_path / "checkpoint", tmp_path / "hf").max_logit_difference < 1e-5
            return
        with pytest.raises(BadInput, match=reason):
            export(tmp_path / "checkpoint", tmp_path / "hf")
        assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("vision", "family", "reason"),
    [
        ("tiny-siglip", "phi", None),
        ("tiny-clip", "llama", None),
        ("tiny-clip", "gemma2", "its logits are capped or divided"),
        ("tiny-dinov2", "phi", "its encoder is a dinov2, that class has CLIP and SigLIP"),
    ],
)
def test_the_folder_for_vllm_keeps_the_bias_of_the_head(
    vision: str, family: str, reason: str | None, tmp_path: Path
) -> None:
    tokenizer = tmp_path / "tokenizer"
    make_tokenizer(tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        matrix.add_rows(patch, tokenizer)
        choice = matrix.choice(vision, "mlp", family)
        model = matrix.make(choice)
        if model.lm_head.bias is not None:
            torch.nn.init.normal_(model.lm_head.bias)
        checkpoint.save(model, choice, "short", tokenizer, tmp_path / "checkpoint")
        if reason is not None:
            with pytest.raises(BadInput, match=f"vLLM's Llava class cannot hold this model exactly: {reason}"):
                export(tmp_path / "checkpoint", tmp_path / "vllm", "vllm-llava")
            return
        result = export(tmp_path / "checkpoint", tmp_path / "vllm", "vllm-llava")
    assert result.equal_generations
    assert result.max_logit_difference < 1e-5
    config = json.loads((tmp_path / "vllm" / "config.json").read_text())
    assert config["model_type"] == "llava"
    assert config["text_config"]["architectures"] == [f"{family.title()}ForCausalLM"]
    kept = load_file(tmp_path / "vllm" / "model.safetensors")
    assert ("language_model.lm_head.bias" in kept) == (family == "phi")


@pytest.mark.parametrize(
    "key", ["clip-vit-large-patch14-224", "siglip2-so400m-patch14-384", "dinov2-large-patch14-224"]
)
@pytest.mark.parametrize("mode", ["square", "pad"])
def test_the_image_processor_that_is_written_gives_our_pixels(key: str, mode: ImageMode, tmp_path: Path) -> None:
    row, image = VISIONS[key], png(5, (90, 60))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(image_processor(row, mode)))
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    theirs = torch.as_tensor(np.asarray(processor(Image.open(io.BytesIO(image)))["pixel_values"][0]))
    mine = normalise(fit(decode(image), row, mode, "pil")[None], row)[0]
    torch.testing.assert_close(theirs, mine, atol=2e-5, rtol=1e-5)
