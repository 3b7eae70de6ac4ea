"""Pictures and words by a small CLIP: the numbers are transformers' own; what the model does not read is told."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from inspected import inspected
from PIL import Image
from tiny import png
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
)

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.evaluate.answer.similar import main
from tinyllava_core.job import SimilarityJob

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "red", "blue", "cat"]
SAYS = ["a red cat", "a blue cat", " ".join(["cat"] * 20), "no picture"]
SHAPE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights that reads eight tokens."""
    folder = tmp_path_factory.mktemp("clip")
    inner = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    size = {"height": 8, "width": 8}
    CLIPImageProcessor(size={"shortest_edge": 8}, crop_size=size).save_pretrained(folder)
    text = {**SHAPE, "vocab_size": len(WORDS), "max_position_embeddings": 8, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config={**SHAPE, "image_size": 8, "patch_size": 4}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def job(tmp_path: Path, clip: Path) -> SimilarityJob:
    (pictures := tmp_path / "pictures").mkdir()
    for number in range(3):
        (pictures / f"{number}.png").write_bytes(png(number))
    images = [[f"{number}.png"] for number in range(3)] + [[]]
    told = [{"says": ["<image>\nWhat?", says], "images": shown} for says, shown in zip(SAYS, images, strict=True)]
    inspected(tmp_path / "inspected", "mine", told)
    places = ImagePlaces.one(pictures)
    home = {"inspected": tmp_path / "inspected", "images": places, "out": tmp_path / "out.parquet"}
    return SimilarityJob(source="mine", model=str(clip), device="cpu", **home)


def test_a_similarity_is_the_models_own_cosine(job: SimilarityJob, clip: Path) -> None:
    assert main([job.model_dump_json()]) == 0
    found = pq.read_table(job.out).to_pylist()
    assert [row["record_id"][-1] for row in found] == ["0", "1", "2"]  # the fourth has no picture
    assert [row["similarity_cut"] for row in found] == [False, False, True]
    model, pictures = CLIPModel.from_pretrained(clip).eval(), CLIPImageProcessor.from_pretrained(clip)
    for number, ids in enumerate(([1, 4, 5, 7, 2], [1, 4, 6, 7, 2])):
        shown = Image.open(io.BytesIO(png(number))).convert("RGB")
        pixels = pictures(np.asarray(shown), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            logits = (
                model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits_per_image / model.logit_scale.exp()
            )
        assert found[number]["similarity"] == pytest.approx(float(logits), abs=1e-5)
    assert len({round(row["similarity"], 4) for row in found}) == 3


def test_a_model_that_is_none_or_has_no_words_is_one_line(
    job: SimilarityJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bare := tmp_path / "bare").mkdir()
    (bare / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    assert main([job.model_copy(update={"model": str(bare)}).model_dump_json()]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --similarity {bare}: cannot be loaded")
    assert said.count("\n") == 1
    blind = CLIPVisionModel(CLIPVisionConfig(**SHAPE, image_size=8, patch_size=4))
    blind.save_pretrained(tmp_path / "vision")
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        if (Path(job.model) / name).is_file():
            (tmp_path / "vision" / name).write_bytes((Path(job.model) / name).read_bytes())
    assert main([job.model_copy(update={"model": str(tmp_path / "vision")}).model_dump_json()]) == 2
    assert "has not both an encoder of pictures and one of words; name a CLIP or SigLIP" in capsys.readouterr().err
