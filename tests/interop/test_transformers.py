"""An exported folder in another transformers: version 4.57 computes the same logits from the same ids and says the same.

It needs an environment with that version; `make interop-env` makes one (.venv-transformers-4).
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from model import matrix
from tiny import png
from tokenizer_families import FAMILIES as TOKENIZERS
from transformers import AutoProcessor

from tinyllava_core.data.inspect.decode import decode
from tinyllava_core.data.plan.prompt import IGNORE, ask, encode
from tinyllava_core.data.record.record import Turn
from tinyllava_core.data.tensors.example import fit, normalise
from tinyllava_core.export.__main__ import export
from tinyllava_core.model import checkpoint
from tinyllava_core.model.foreign.importer import bring_in
from tinyllava_core.parts import LANGUAGES
from tinyllava_core.settings.model import Model
from tinyllava_core.tokenizer import load_tokenizer

SCRIPT = Path(__file__).with_name("ask_transformers.py")
PYTHON = Path(__file__).parents[2] / ".venv-transformers-4" / "bin" / "python"
QUESTIONS = ["what colour is the cat?", "how many dogs?", "describe this picture"]
ROPE: dict[
    str, dict[str, Any]
] = {  # what transformers 4 read as 10,000 and no scaling where it stands in new words alone
    "llama": {"rope_type": "default", "rope_theta": 5000.0},
    "qwen3": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000000.0},
    "stablelm": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.25},
}
CELLS = [("llama", "llama"), ("qwen3", "qwen2_instruct"), ("stablelm", "stablelm")]


def exported(family: str, tokenizer: str, home: Path) -> tuple[Path, Path]:
    """Make a tiny model of a family with a real kind of tokenizer -> its checkpoint, its export."""
    files = TOKENIZERS[tokenizer](home / "tokenizer")
    with pytest.MonkeyPatch.context() as patch:
        matrix.add_rows(patch, files)
        choice = matrix.choice("tiny-siglip", "mlp", family)
        size = load_tokenizer(files).size
        config = matrix.FAMILIES[family] | {"vocab_size": size}
        if family in ROPE:
            config |= {"rope_parameters": ROPE[family]}
        row = dataclasses.replace(LANGUAGES[f"tiny-{family}"], config=config)
        patch.setitem(LANGUAGES, f"tiny-{family}", row)
        model = fresh(choice, load_tokenizer(files).image_id)
        checkpoint.save(model, choice, "short", files, home / "checkpoint")
        export(home / "checkpoint", home / "hf")
    return home / "checkpoint", home / "hf"


def fresh(choice: Model, image_id: int) -> Any:
    """Build one cell anew: its settings differ from those of the other tests' cells."""
    torch.manual_seed(0)
    config = matrix.published(choice)
    config.image_token_index = image_id
    return matrix.TinyLlava(config).eval()


def ours(folder: Path, picture: bytes) -> list[dict[str, Any]]:
    """Ask the checkpoint itself, by this package's own prompt and pixels."""
    loaded, tokenizer = checkpoint.load(folder), load_tokenizer(folder)
    told = []
    for question in QUESTIONS:
        ids = torch.tensor([ask("short", tokenizer, question, 1, loaded.tokens_per_image)])
        pixels_N3HW = normalise(fit(decode(picture), loaded.vision, "square", "pil")[None], loaded.vision)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels_N3HW}
        with torch.no_grad():
            logits = loaded.model(**inputs).logits[0, -1]
            said = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        told.append({"ids": ids[0].tolist(), "logits": logits.tolist(), "said": said.tolist()})
    return told


def theirs(folder: Path, picture: Path) -> list[dict[str, Any]]:
    """Ask the exported folder in the other environment."""
    command = [str(PYTHON), str(SCRIPT), str(folder), str(picture), *QUESTIONS]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["version"].startswith("4.57.")
    return list(told["answers"])


@pytest.mark.skipif(not PYTHON.exists(), reason="needs another transformers: make interop-env")
@pytest.mark.parametrize(("family", "tokenizer"), CELLS)
def test_transformers_4_gives_our_ids_logits_and_answers(family: str, tokenizer: str, tmp_path: Path) -> None:
    source, folder = exported(family, tokenizer, tmp_path)
    picture = png(4, (32, 32))
    (tmp_path / "picture.png").write_bytes(picture)
    for mine, other in zip(ours(source, picture), theirs(folder, tmp_path / "picture.png"), strict=True):
        assert other["ids"] == mine["ids"]
        torch.testing.assert_close(torch.tensor(other["logits"]), torch.tensor(mine["logits"]), atol=2e-5, rtol=1e-5)
        assert other["said"] == mine["said"]


@pytest.mark.skipif(not PYTHON.exists(), reason="needs another transformers: make interop-env")
def test_gemma_is_another_model_in_transformers_4_and_the_export_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = exported("gemma", "gemma", tmp_path)
    assert "transformers 4 multiplies Gemma's image tokens by sqrt(width)" in capsys.readouterr().out
    picture = png(4, (32, 32))
    (tmp_path / "picture.png").write_bytes(picture)
    mine, other = ours(source, picture), theirs(folder, tmp_path / "picture.png")
    assert [one["ids"] for one in other] == [one["ids"] for one in mine]
    assert other[0]["logits"] != pytest.approx(mine[0]["logits"], abs=1e-3)


@pytest.mark.parametrize(("family", "tokenizer"), [("llama", "llama"), ("qwen3", "qwen2_instruct")])
def test_an_export_is_imported_again_with_its_prompt_and_its_first_token(
    family: str, tokenizer: str, tmp_path: Path
) -> None:
    source, folder = exported(family, tokenizer, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        matrix.add_rows(patch, tmp_path / "tokenizer")
        card = bring_in(folder, tmp_path / "again", vision="tiny-siglip")
    assert card.prompt == "short"
    before, after = load_tokenizer(source), load_tokenizer(tmp_path / "again")
    assert after.bos_id == before.bos_id
    assert ours(tmp_path / "again", png(4, (32, 32))) == ours(source, png(4, (32, 32)))


def test_the_files_of_an_export_name_no_place_on_this_machine_and_one_first_token(tmp_path: Path) -> None:
    _, folder = exported("llama", "llama", tmp_path)
    for file in folder.glob("*.json"):
        assert str(tmp_path) not in file.read_text(), file.name
        assert "_name_or_path" not in file.read_text(), file.name
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": "what colour?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert processor.tokenizer(text)["input_ids"].count(processor.tokenizer.bos_token_id) == 1
    text_config = json.loads((folder / "config.json").read_text())["text_config"]
    assert (text_config["rope_theta"], text_config["rope_parameters"]["rope_theta"]) == (5000.0, 5000.0)


@pytest.mark.parametrize(("family", "tokenizer"), [("llama", "llama"), ("qwen3", "qwen2_instruct")])
def test_the_template_marks_what_is_learned(family: str, tokenizer: str, tmp_path: Path) -> None:
    """As trainers ask for it that learn from the answers alone; held against the labels that we train on."""
    _, folder = exported(family, tokenizer, tmp_path)
    turns = [("user", "what colour is the cat?"), ("assistant", "red"), ("user", "how many?"), ("assistant", "2 cats")]
    (mine,) = encode([[Turn(role=role, text=text) for role, text in turns]], "short", load_tokenizer(folder), 1)
    told = AutoProcessor.from_pretrained(folder).tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns],
        chat_template=(folder / "chat_template.jinja").read_text(),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert told["input_ids"] == mine.ids
    assert told["assistant_masks"] == [int(label != IGNORE) for label in mine.labels]
