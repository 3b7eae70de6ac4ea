"""A model that cuts pictures, exported into the classes that do: reloaded in a process without this package, its logits are equal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import png
from transformers import AutoImageProcessor, AutoProcessor

from tinyllava_core.data.tensors.example import normalise
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer
from tinyllava_core.export.__main__ import _asked, _embedded, export
from tinyllava_core.export.formats import inputs
from tinyllava_core.model import checkpoint
from tinyllava_core.model.assemble import assemble
from tinyllava_core.model.grow import make_room
from tinyllava_core.settings.export import ExportFormat
from tinyllava_core.settings.model import Model
from tinyllava_core.tokenizer import load_tokenizer

CUT: dict[ExportFormat, dict[str, Any]] = {
    "hf-llava": {"image_mode": "dynamic", "tiling": {"max_tiles": 3}},
    "hf-llava-next": {"image_mode": "anyres"},
    "hf-llava-onevision": {"image_mode": "anyres", "tiling": {"max_tiles": 1}},
    "hf-idefics3": {
        "image_mode": "tiles",
        "tiling": {"long_side": 72, "like": "smolvlm"},
        "connector": "pixel-shuffle-linear",
        "vision_layer": "final",
        "pixels": "pil",
    },
}
RELOAD = """
import sys, torch
from transformers import AutoModelForImageTextToText
folder, file = sys.argv[1:]
model, report = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
assert not report["missing_keys"] and not report["unexpected_keys"], report
assert "tinyllava_core" not in sys.modules
worst = 0.0
with torch.no_grad():
    for given, logits in torch.load(file):
        worst = max(worst, float((model.eval()(**given).logits - logits).abs().max()))
print(type(model).__name__, worst)
"""


def trained(model: dict[str, Any], folder: Path, tiny_parts: Path) -> Path:
    choice = Model.parse({"vision": "tiny", "language": "tiny"} | model, "test")
    made = assemble(choice, seed=3)
    make_room(made, choice.scheme, load_tokenizer(tiny_parts / "language", choice.scheme.marks).size, 3)
    checkpoint.save(made.eval(), choice, "short", tiny_parts / "language", folder)
    return folder


@pytest.mark.parametrize("kind", CUT)
def test_another_process_loads_the_export_and_gives_equal_logits(
    kind: ExportFormat, tiny_parts: Path, tmp_path: Path
) -> None:
    result = export(trained(CUT[kind], tmp_path / "checkpoint", tiny_parts), tmp_path / "hf", kind)
    assert result.format == kind
    assert result.equal_generations
    assert result.max_logit_difference < 1e-5
    loaded, asked = checkpoint.load(tmp_path / "checkpoint"), []
    tokenizer = load_tokenizer(loaded.folder)
    with torch.no_grad():
        for seed, size in enumerate([(64, 30), (20, 70), (300, 17), (8, 8)]):
            ids, tiles = _asked(loaded, tokenizer, "what colour?", size, seed)
            logits = loaded.model(inputs_embeds=_embedded(loaded, ids, tiles, size)).logits
            asked.append((inputs(ids, tiles, size, kind), logits))
    torch.save(asked, tmp_path / "asked.pt")
    words = [sys.executable, "-c", RELOAD, str(tmp_path / "hf"), str(tmp_path / "asked.pt")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    name, worst = ran.stdout.split()
    classes = {
        "hf-llava": "Llava",
        "hf-llava-next": "LlavaNext",
        "hf-llava-onevision": "LlavaOnevision",
        "hf-idefics3": "Idefics3",
    }
    assert name.startswith(f"{classes[kind]}For")
    assert float(worst) < 1e-5


@pytest.mark.parametrize("kind", ["hf-llava-next", "hf-idefics3"])
def test_the_written_processor_gives_our_ids_and_our_pixels(
    kind: ExportFormat, tiny_parts: Path, tmp_path: Path
) -> None:
    source = trained(CUT[kind] | {"pixels": "pil"}, tmp_path / "checkpoint", tiny_parts)
    export(source, tmp_path / "hf", kind)
    processor, answerer = AutoProcessor.from_pretrained(tmp_path / "hf"), Answerer(source)
    for number, size in enumerate([(64, 30), (20, 70), (9, 9)]):
        (tmp_path / "a.png").write_bytes(png(number, size))
        shown = answerer.picture(tmp_path / "a.png")
        text = "USER: <image>\nwhat colour? ASSISTANT:"
        theirs = processor(images=[Image.open(tmp_path / "a.png")], text=text, return_tensors="pt")
        assert theirs["input_ids"][0].tolist() == answerer.ids("what colour?", [shown.size])
        mine = normalise(shown.tiles_N3HW, answerer.loaded.vision)
        torch.testing.assert_close(theirs["pixel_values"][0], mine, atol=1e-5, rtol=1e-5)


def test_a_whole_picture_first_has_no_processor_of_theirs_and_none_is_written(tiny_parts: Path, tmp_path: Path) -> None:
    nano = CUT["hf-idefics3"] | {"tiling": {"long_side": 48}}
    result = export(trained(nano, tmp_path / "checkpoint", tiny_parts), tmp_path / "hf", "hf-idefics3")
    assert result.equal_generations
    assert not (tmp_path / "hf" / "preprocessor_config.json").exists()
    with pytest.raises((OSError, ValueError)):
        AutoImageProcessor.from_pretrained(tmp_path / "hf")


@pytest.mark.parametrize(
    ("model", "kind", "reason"),
    [
        (
            {"image_mode": "dynamic"},
            "hf-llava-next",
            "its image_mode is dynamic, that class cuts pictures as anyres does",
        ),
        ({"image_mode": "anyres"}, "hf-llava-onevision", "LlavaNext never: choose the other export"),
        ({"image_mode": "anyres"}, "hf-idefics3", "its connector is mlp, that class has pixel-shuffle-linear"),
        ({"image_mode": "anyres"}, "hf-llava", "its pictures are cut as LLaVA-NeXT's are"),
        (CUT["hf-idefics3"] | {"vision_layer": -1}, "hf-idefics3", "does not read the encoder's `final` state"),
        (
            {"image_mode": "anyres", "vision_layer": "final"},
            "hf-llava-next",
            "behind its norm, that class in front of it",
        ),
    ],
)
def test_what_a_class_cannot_hold_is_refused_with_the_reason(
    model: dict[str, Any], kind: ExportFormat, reason: str, tiny_parts: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=reason):
        export(trained(model, tmp_path / "checkpoint", tiny_parts), tmp_path / "hf", kind)
