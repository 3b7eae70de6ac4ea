"""Tiny parts and shards that tests share: random weights in real Hugging Face folders, a real tokenizer, real tars."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tinyllava_core.data.shard.shard import INDEX_SCHEMA, SHARDS_SCHEMA
from tinyllava_core.parts import Language, Vision

WORDS = (
    "USER: ASSISTANT: what colour is the cat ? a red blue green dog sits on mat yes no it how many are there "
    "say what you see in this picture Answer the question using single word or phrase . 0 1 2 3 4 5 6 7 8 9"
)


def make_tokenizer(folder: Path) -> None:
    """Train a byte-level BPE with <image>, <pad>, </s>, and write its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "</s>", "<image>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "</s>", "pad_token": "<pad>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def make_parts(folder: Path) -> None:
    """Write a random SigLIP encoder (24 px, patch 8, 3 layers, width 16) and a random Llama (2 layers, width 24)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(7)
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=24, patch_size=8
    )
    SiglipVisionModel(vision).save_pretrained(folder / "vision")
    language = LlamaConfig(
        vocab_size=400,
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(language).save_pretrained(folder / "language")
    make_tokenizer(folder / "language")


def png(seed: int, size: tuple[int, int] = (30, 20)) -> bytes:
    """Draw noise -> a PNG file's bytes; `size` is (width, height)."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def make_shards(folder: Path, records: Sequence[tuple[list[tuple[str, str]], list[bytes]]]) -> None:
    """Write records ((role, text) turns, image files) as one shard artifact, the plain way: tarfile, then its offsets."""
    folder.mkdir(parents=True, exist_ok=True)
    path, bodies = folder / "shard-000000.tar", list[bytes]()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for position, (turns, images) in enumerate(records):
            key = f"{position:09d}"
            body = {
                "record_id": f"tiny-{position:08d}",
                "source": "tiny",
                "turns": [{"role": role, "text": text} for role, text in turns],
                "images": [{"path": f"{key}.png"} | _size(data) for data in images],
            }
            bodies.append(json.dumps(body).encode())
            members = [(f"{key}.json", bodies[-1])]
            members += [(f"{key}.png" if len(images) == 1 else f"{key}.{i}.png", data) for i, data in enumerate(images)]
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        places = {member.name: (member.offset_data, member.size) for member in tar}
    rows = []
    for position, (_, images) in enumerate(records):
        key = f"{position:09d}"
        names = [f"{key}.png"] if len(images) == 1 else [f"{key}.{i}.png" for i in range(len(images))]
        rows.append(
            {
                "position": position,
                "shard": 0,
                "place": position,
                "key": key,
                "record_id": f"tiny-{position:08d}",
                "source": "tiny",
                "num_images": len(images),
                "json_offset": places[f"{key}.json"][0],
                "json_size": places[f"{key}.json"][1],
                "image_offsets": [places[name][0] for name in names],
                "image_sizes": [places[name][1] for name in names],
                "json_sha256": hashlib.sha256(bodies[position]).hexdigest(),
                "image_sha256": [hashlib.sha256(data).hexdigest() for data in images],
                "stored_sha256": [None for _ in images],
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / "index.parquet")
    pq.write_table(_shards_table(path), folder / "shards.parquet")


def _size(data: bytes) -> dict[str, int]:
    with Image.open(io.BytesIO(data)) as image:
        return dict(zip(("width", "height"), image.size, strict=True))


def _shards_table(tar: Path) -> pa.Table:
    sha256 = hashlib.sha256(tar.read_bytes()).hexdigest()
    row = {"shard": 0, "name": tar.name, "size_bytes": tar.stat().st_size, "sha256": sha256}
    return pa.Table.from_pylist([row], schema=SHARDS_SCHEMA)


def tiny_rows(folder: Path) -> tuple[Vision, Language]:
    """Give the rows of the parts that `make_parts` wrote."""
    half = (0.5, 0.5, 0.5)
    vision = Vision(
        weights=str(folder / "vision"),
        image_size=24,
        patch_size=8,
        width=16,
        num_layers=3,
        num_class_tokens=0,
        mean=half,
        std=half,
        any_shape=True,
    )
    return vision, Language(weights=str(folder / "language"), width=24, num_layers=2, prompt="short")
