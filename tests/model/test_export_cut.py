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
    "hf-lfm2-vl": {
        "image_mode": "native",
        "tiling": {"max_patches": 64},
        "connector": "pixel-shuffle",
        "connector_shrink": 2,
        "connector_norm": True,
        "vision_layer": "final",
    },
}
# Two more that Lfm2Vl holds: every patch a token, as its processor makes them; and squares of an encoder of one size.
NAFLEX = {"image_mode": "native", "tiling": {"max_patches": 64}, "vision_layer": "final"}
TILES_OF_SIGLIP = {"image_mode": "dynamic", "connector": "pixel-shuffle", "vision_layer": "final"}
RELOAD = """
import sys, torch
from transformers import AutoModelForImageTextToText
for home in sys.argv[1:]:
    how = dict(dtype=torch.float32, output_loading_info=True)
    model, report = AutoModelForImageTextToText.from_pretrained(home + "/hf", **how)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    worst = 0.0
    with torch.no_grad():
        for given, logits in torch.load(home + "/asked.pt"):
            worst = max(worst, float((model.eval()(**given).logits - logits).abs().max()))
    print(type(model).__name__, worst)
assert "tinyllava_core" not in sys.modules
"""


def trained(model: dict[str, Any], folder: Path, tiny_parts: Path) -> Path:
    choice = Model.parse({"vision": "tiny", "language": "tiny"} | model, "test")
    made = assemble(choice, seed=3)
    make_room(made, choice, load_tokenizer(tiny_parts / "language", choice.scheme.marks).size, 3)
    checkpoint.save(made.eval(), choice, "short", tiny_parts / "language", folder)
    return folder


def test_another_process_loads_the_exports_and_gives_equal_logits(tiny_parts: Path, tmp_path: Path) -> None:
    """One process for all of them: to start it takes longer than all else."""
    kinds: list[tuple[ExportFormat, dict[str, Any]]] = [*CUT.items()]
    kinds += [("hf-lfm2-vl", NAFLEX), ("hf-lfm2-vl", TILES_OF_SIGLIP)]
    homes = [tmp_path / str(number) for number in range(len(kinds))]
    for home, (kind, model) in zip(homes, kinds, strict=True):
        result = export(trained(model, home / "checkpoint", tiny_parts), home / "hf", kind)
        assert result.format == kind
        assert result.equal_generations
        assert result.max_logit_difference < 1e-5
        loaded, asked = checkpoint.load(home / "checkpoint"), []
        tokenizer = load_tokenizer(loaded.folder)
        with torch.no_grad():
            for seed, size in enumerate([(64, 30), (20, 70), (300, 17), (8, 8)]):
                ids, tiles = _asked(loaded, tokenizer, "what colour?", size, seed)
                logits = loaded.model(inputs_embeds=_embedded(loaded, ids, tiles, size)).logits
                asked.append((inputs(loaded, ids, tiles, size, kind), logits))
        torch.save(asked, home / "asked.pt")
    words = [sys.executable, "-c", RELOAD, *map(str, homes)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    classes = ("Llava", "LlavaNext", "LlavaOnevision", "Idefics3", "Lfm2Vl", "Lfm2Vl", "Lfm2Vl")
    for line, name in zip(ran.stdout.splitlines(), classes, strict=True):
        assert line.startswith(f"{name}For")
        assert float(line.split()[1]) < 1e-5


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


def test_the_written_image_processor_gives_pictures_of_any_shape_as_we_do(tiny_parts: Path, tmp_path: Path) -> None:
    source = trained(NAFLEX | {"pixels": "pil"}, tmp_path / "checkpoint", tiny_parts)
    export(source, tmp_path / "hf", "hf-lfm2-vl")
    processor, answerer = AutoImageProcessor.from_pretrained(tmp_path / "hf"), Answerer(source)
    (tmp_path / "a.png").write_bytes(png(1, (64, 30)))
    shown = answerer.picture(tmp_path / "a.png")
    theirs = processor(images=[Image.open(tmp_path / "a.png")], return_tensors="pt")
    mine = normalise(shown.tiles_N3HW, answerer.loaded.vision)
    given = inputs(answerer.loaded, [], mine, shown.size, "hf-lfm2-vl")
    for name in ("pixel_values", "pixel_attention_mask", "spatial_shapes"):
        torch.testing.assert_close(theirs[name].float(), given[name].float(), atol=1e-5, rtol=1e-5)


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
        ({"image_mode": "native"}, "hf-llava", "its encoder takes patches of pictures of any shape"),
        ({"image_mode": "native"}, "hf-lfm2-vl", "does not read the encoder's `final` state"),
        ({"connector": "linear"}, "hf-lfm2-vl", "that class has a two-layer pixel-shuffle or mlp"),
        ({"image_mode": "anyres", "vision_layer": "final"}, "hf-lfm2-vl", "whose newlines that class does not have"),
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
