"""A tiny checkpoint with random weights, and pictures of noise: enough to ask, too little to be right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

VISION, LANGUAGE = "test-vit", "test-llama"
CORPUS = [
    "USER: is there a red square in the picture? ASSISTANT: yes",
    "USER: what is written on the sign? ASSISTANT: no exit",
    "Answer the question using a single word or phrase.",
]


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the checkpoint, where a trained stage would leave it, once."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

    from tinyllava_core.model import checkpoint
    from tinyllava_core.parts import LANGUAGES, VISIONS, Language, Vision
    from tinyllava_core.recipe import Model

    home = tmp_path_factory.mktemp("world")
    torch.manual_seed(7)
    torch.set_num_threads(1)  # more only wait for each other on so little work
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8
    )
    SiglipVisionModel(vision).save_pretrained(home / "vision")
    vocab_size = make_tokenizer(home / "language")
    language = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.5,  # far apart logits: answers differ, and rounding does not decide them
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(language).save_pretrained(home / "language")
    half = (0.5, 0.5, 0.5)
    row = Vision(
        weights=str(home / "vision"),
        image_size=24,
        patch_size=8,
        width=32,
        num_layers=2,
        num_class_tokens=0,
        mean=half,
        std=half,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VISIONS, VISION, row)
        patch.setitem(
            LANGUAGES,
            LANGUAGE,
            Language(weights=str(home / "language"), width=32, num_layers=2, prompt="short"),
        )
        parts = Model(vision=VISION, language=LANGUAGE)
        folder = home / "sft" / "0123456789abcdef" / "checkpoint"
        folder.parent.mkdir(parents=True)
        model = checkpoint.assemble(parts, seed=1)
        for weights in model.model.multi_modal_projector.parameters():
            torch.nn.init.normal_(weights)  # as loud as words: what is seen changes what is said
        model.lm_head.weight.data[1] *= 1.5  # </s> is likely: answers end
        checkpoint.save(model, parts, "short", home / "language", folder)
        yield folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw eight pictures of noise, 0.png to 7.png."""
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(3)
    for number in range(8):
        Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def make_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer's files -> its vocabulary's size, image token included."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return int(tokenizer.get_vocab_size())
