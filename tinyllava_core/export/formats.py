"""transformers' own classes for models that cut pictures: LlavaNext, LlavaOnevision, Idefics3 (SmolVLM's too), Lfm2Vl. It trains nothing.

A class either holds a model exactly, to the last tensor, or there is a reason why not. Weights keep their values; only names change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.model.checkpoint import Loaded, why_not_its_head
from tinyllava_core.model.portable import portable_config
from tinyllava_core.model.processor import RESAMPLE
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.model.vision.native import FIXED, NAFLEX, as_naflex, naflex_config, patch_inputs
from tinyllava_core.parts.picture import Scheme
from tinyllava_core.settings.export import ExportFormat
from tinyllava_core.tokenizer import IMAGE_TOKEN

_OURS_TO_IDEFICS = (
    ("model.vision_tower.", "model.vision_model."),
    ("model.multi_modal_projector.mlp.", "model.connector.modality_projection.proj."),
    ("model.language_model.", "model.text_model."),
    ("lm_head.", "lm_head."),
)
_OF_VISION = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size"),
    *("hidden_act", "layer_norm_eps", "attention_dropout"),
)


def why_not(model: TinyLlava, scheme: Scheme, kind: ExportFormat) -> str | None:
    """Say what the class of a format cannot hold of this model; None if it holds it exactly."""
    if (head := why_not_its_head(model)) is not None:
        return head
    if kind == "hf-idefics3":
        return _not_idefics(model, scheme)
    if kind == "hf-lfm2-vl":
        return _not_lfm2(model, scheme)
    return _not_anyres(model, scheme, kind)


def _not_anyres(model: TinyLlava, scheme: Scheme, kind: ExportFormat) -> str | None:
    if (model.shape.kind, model.shape.layers) != ("mlp", 2):
        return f"its connector is {model.shape.kind}, that class has a two-layer MLP"
    if scheme.mode != "anyres":
        return f"its image_mode is {scheme.mode}, that class cuts pictures as anyres does"
    if (scheme.max_tiles is not None) != (kind == "hf-llava-onevision"):
        return "LlavaOnevision makes a large map of tokens smaller (tiling.max_tiles), LlavaNext never: choose the other export"
    if model.config.final_norm:
        return "its connector reads the encoder's last state behind its norm, that class in front of it"
    if model.config.vision_config.model_type not in ("clip_vision_model", "siglip_vision_model"):
        return (
            f"its encoder is a {model.config.vision_config.model_type}, whose leading tokens that class does not know"
        )
    return None


def _not_idefics(model: TinyLlava, scheme: Scheme) -> str | None:
    if model.shape.kind != "pixel-shuffle-linear":
        return f"its connector is {model.shape.kind}, that class has pixel-shuffle-linear"
    if model.config.vision_config.model_type != "siglip_vision_model":
        return f"its encoder is a {model.config.vision_config.model_type}, that class has SigLIP's"
    if not model.config.final_norm:
        return "its connector does not read the encoder's `final` state, which that class does"
    if scheme.mode not in ("square", "tiles"):
        return f"its image_mode is {scheme.mode}, that class cuts pictures as tiles does"
    return None


def _not_lfm2(model: TinyLlava, scheme: Scheme) -> str | None:
    if (model.shape.kind, model.shape.layers) not in (("pixel-shuffle", 2), ("mlp", 2)):
        return f"its connector is {model.shape.kind}, that class has a two-layer pixel-shuffle or mlp"
    if model.config.vision_config.model_type not in (FIXED, NAFLEX) or model.config.num_skipped:
        return f"its encoder is a {model.config.vision_config.model_type}, that class has SigLIP 2's"
    if not model.config.final_norm:
        return "its connector does not read the encoder's `final` state, which that class does"
    if scheme.mode == "anyres":
        return "its image_mode is anyres, whose newlines that class does not have"
    return None


def build(model: TinyLlava, scheme: Scheme, kind: ExportFormat) -> PreTrainedModel:
    """Give the same model as an instance of a format's class. Raises RuntimeError if a tensor finds no place, or a place no tensor."""
    tied = model.config.tie_word_embeddings
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not (tied and name == "lm_head.weight")}
    if kind == "hf-idefics3":
        made, tensors = _idefics(model), _for_idefics(tensors)
    elif kind == "hf-lfm2-vl":
        made, tensors = _lfm2(model), _for_lfm2(model, tensors)
    else:
        made = _anyres(model, scheme, kind)
        tensors = {name.replace("image_newline.weight", "image_newline"): tensor for name, tensor in tensors.items()}
    missing, unexpected = made.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) - ({"lm_head.weight"} if tied else set()):
        raise RuntimeError(f"{kind}: missing {missing[:3]}, unexpected {unexpected[:3]}")
    made.tie_weights()
    made.generation_config = model.generation_config
    return made.eval()


def _anyres(model: TinyLlava, scheme: Scheme, kind: ExportFormat) -> PreTrainedModel:
    ours = model.config
    common: dict[str, Any] = {
        "vision_config": ours.vision_config,
        "text_config": ours.text_config,
        "image_token_index": ours.image_token_id,
        "image_seq_length": scheme.tokens,
        "vision_feature_layer": ours.vision_feature_layer,
        "vision_feature_select_strategy": ours.vision_feature_select_strategy,
        "image_grid_pinpoints": [[rows * scheme.tile, columns * scheme.tile] for rows, columns in scheme.grids],
        "tie_word_embeddings": ours.tie_word_embeddings,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
    }
    with no_init_weights():
        if kind == "hf-llava-onevision":
            config = LlavaOnevisionConfig(**common, vision_aspect_ratio=f"anyres_max_{scheme.max_tiles}")
            return LlavaOnevisionForConditionalGeneration(config)
        return LlavaNextForConditionalGeneration(LlavaNextConfig(**common))


def _idefics(model: TinyLlava) -> PreTrainedModel:
    ours, vision = model.config, model.config.vision_config
    config = Idefics3Config(
        vision_config={name: getattr(vision, name) for name in _OF_VISION} | {"model_type": "idefics3_vision"},
        text_config=ours.text_config,
        image_token_id=ours.image_token_id,
        scale_factor=model.shape.shrink,
        tie_word_embeddings=ours.tie_word_embeddings,
        pad_token_id=model.generation_config.pad_token_id,
    )
    with no_init_weights():
        return Idefics3ForConditionalGeneration(config)


def _for_idefics(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename; SigLIP's pooling head, which nothing reads, has no place there."""
    found = {}
    for name, tensor in tensors.items():
        if name.startswith("model.vision_tower.head."):
            continue
        ours, theirs = next(pair for pair in _OURS_TO_IDEFICS if name.startswith(pair[0]))
        found[theirs + name.removeprefix(ours)] = tensor
    return found


def _lfm2(model: TinyLlava) -> PreTrainedModel:
    """Its downsampling is our pixel-shuffle, none of it an mlp. A SigLIP of one size becomes the NaFlex encoder that it is."""
    ours, vision = model.config, model.config.vision_config
    config = Lfm2VlConfig(
        vision_config=naflex_config(vision) if vision.model_type == FIXED else vision,
        text_config=ours.text_config,
        image_token_id=ours.image_token_id,
        downsample_factor=model.shape.shrink or 1,
        projector_hidden_size=model.shape.language_width,
        projector_use_layernorm=model.shape.norm,
        tie_word_embeddings=ours.tie_word_embeddings,
    )
    with no_init_weights():
        return Lfm2VlForConditionalGeneration(config)


def _for_lfm2(model: TinyLlava, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename; the encoder's weights are those of the NaFlex one."""
    tower, vision = model.model.vision_tower, "model.vision_tower."
    if model.config.vision_config.model_type == FIXED:
        tower = as_naflex(tower)
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(vision)}
    found = {
        name.replace("projector.mlp.", "projector.").replace("projector.norm.", "projector.layer_norm."): tensor
        for name, tensor in found.items()
    }
    return found | {vision + name: tensor for name, tensor in tower.state_dict().items()}


def inputs(
    loaded: Loaded, ids: list[int], tiles_N3HW: Tensor, size: tuple[int, int], kind: ExportFormat
) -> dict[str, Tensor]:
    """Give one picture and a question as a format's class takes them; `size`: the picture's (width, height)."""
    if kind == "hf-lfm2-vl":
        order = order_of(loaded.scheme, [size])
        shown = patch_inputs(tiles_N3HW, order.shapes_N2 if order else None, loaded.vision.patch_size)
        return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.int64)} | shown
    asked = {
        "input_ids": torch.tensor([ids]),
        "pixel_values": tiles_N3HW if kind in ("hf-llava", "vllm-llava") else tiles_N3HW[None],
    }
    asked["attention_mask"] = torch.ones_like(asked["input_ids"])
    if kind in ("hf-llava-next", "hf-llava-onevision"):
        asked["image_sizes"] = torch.tensor([[size[1], size[0]]])
    return asked


def write(loaded: Loaded, out: Path, kind: ExportFormat) -> None:
    """Lay a format's weights, configuration and processor over those of the checkpoint's folder.

    Where transformers has no processor that prepares pictures as the model was trained (nanoVLM's order and marks; no upscaling;
    Lfm2Vl's chooses other sizes), none is written.
    """
    build(loaded.model, loaded.scheme, kind).save_pretrained(out)
    config = out / "config.json"
    write_aside(config, json.dumps(portable_config(json.loads(config.read_text())), indent=2))
    for name in ("preprocessor_config.json", "processor_config.json"):
        (out / name).unlink(missing_ok=True)
    for name, told in _processor(loaded, kind).items():
        write_aside(out / name, json.dumps(told, indent=2))


def _processor(loaded: Loaded, kind: ExportFormat) -> dict[str, dict[str, Any]]:
    row, scheme = loaded.vision, loaded.scheme
    if kind == "hf-lfm2-vl" and (scheme.mode != "native" or scheme.tile != scheme.patch):
        return {}
    square = {"height": scheme.tile, "width": scheme.tile}
    common: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
    }
    common |= {"image_mean": list(row.mean), "image_std": list(row.std)}
    if kind == "hf-lfm2-vl":
        native = {"patch_size": scheme.patch, "max_num_patches": scheme.max_windows, "resample": RESAMPLE[row.resample]}
        return {"preprocessor_config.json": {"image_processor_type": "Siglip2ImageProcessor", **common, **native}}
    if kind == "hf-idefics3":
        if scheme.mode != "tiles" or scheme.like != "smolvlm" or not scheme.upscale:
            return {}
        more = {"size": {"longest_edge": scheme.long_side}, "max_image_size": {"longest_edge": scheme.tile}}
        split = {"do_image_splitting": True, "do_pad": True, "resample": 1}
        image = {"image_processor_type": "Idefics3ImageProcessor", **common, **more, **split}
        text: dict[str, Any] = {"processor_class": "Idefics3Processor", "image_seq_len": scheme.tokens}
        return {"preprocessor_config.json": image, "processor_config.json": text}
    grids = [[rows * scheme.tile, columns * scheme.tile] for rows, columns in scheme.grids]
    cutting = {"image_grid_pinpoints": grids, "resample": 3, "do_pad": True}
    if kind == "hf-llava-onevision":  # its whole processor wants one for videos too
        return {"preprocessor_config.json": {"image_processor_type": "LlavaOnevisionImageProcessor", "size": square, **common, **cutting}}  # fmt: skip
    crop = {"size": {"shortest_edge": scheme.tile}, "crop_size": square, "do_center_crop": True}
    text = {
        "processor_class": "LlavaNextProcessor",
        "patch_size": row.patch_size,
        "vision_feature_select_strategy": "default" if row.num_skipped else "full",
        "num_additional_image_tokens": row.num_class_tokens,
        "image_token": IMAGE_TOKEN,
    }
    image = {"image_processor_type": "LlavaNextImageProcessor", **crop, **common, **cutting}
    return {"preprocessor_config.json": image, "processor_config.json": text}
