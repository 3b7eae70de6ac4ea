"""What a checkpoint says of pictures and prompts to transformers' own classes: image processor, processor, chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.model.chat_template import chat_template
from tinyllava_core.parts import Vision, own
from tinyllava_core.parts.prompts import prompt_row
from tinyllava_core.settings.model import ImageMode
from tinyllava_core.tokenizer import IMAGE_TOKEN, load_tokenizer

RESAMPLE = {name: number for number, name in own.RESAMPLE.items()}


def write_processor(row: Vision, image_mode: ImageMode, tokens_per_image: int, prompt: str, folder: Path) -> None:
    """Write the files beside the tokenizer's, so that others prepare images and text as the training did.

    transformers' Llava processor counts an image's tokens from its patches: where the connector or a mixture of encoders makes
    another number of them, no processor_config.json is written; and neither is where pictures are cut, which it does not do.
    """
    whole = image_mode in ("square", "pad")
    if whole:
        write_aside(folder / "preprocessor_config.json", json.dumps(image_processor(row, image_mode), indent=2))
    if whole and tokens_per_image == row.num_patches and not row.mixture:
        processor = {
            "processor_class": "LlavaProcessor",
            "patch_size": row.patch_size,
            "vision_feature_select_strategy": "default" if row.num_skipped else "full",
            "num_additional_image_tokens": row.num_class_tokens,
            "image_token": IMAGE_TOKEN,
        }
        write_aside(folder / "processor_config.json", json.dumps(processor, indent=2))
    write_aside(folder / "chat_template.jinja", chat_template(prompt_row(prompt), load_tokenizer(folder)))


def image_processor(row: Vision, image_mode: ImageMode) -> dict[str, Any]:
    """Describe how a picture becomes the encoder's input, as preprocessor_config.json does."""
    size: dict[str, int] = {"height": row.image_size, "width": row.image_size}
    kind = (
        "LlavaImageProcessor" if image_mode == "pad" else "CLIPImageProcessor" if row.crop else "SiglipImageProcessor"
    )
    padding = {"do_pad": True} if image_mode == "pad" else {}
    return padding | {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"shortest_edge": row.short_edge or row.image_size} if row.crop else size,
        "do_center_crop": row.crop,
        "crop_size": size if row.crop else None,
        "resample": RESAMPLE[row.resample],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(row.mean),
        "image_std": list(row.std),
        "do_convert_rgb": True,
    }
