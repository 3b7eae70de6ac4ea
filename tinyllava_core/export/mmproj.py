"""`python -m tinyllava_core.export.mmproj FOLDER FILE`: encoder and connector of an exported Llava as llama.cpp reads them.

llama.cpp takes a model that sees as two files. Its own converter writes the language model out of such a folder, but knows no
Llava with CLIP or SigLIP any more; its program still does. Keys and names: llama.cpp, tools/mtmd/clip-impl.h and clip.cpp; what is
computed with them: tools/mtmd/models/llava.cpp. Weights keep their values.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from transformers import AutoConfig, AutoImageProcessor
from transformers.utils import logging as transformers_logging

from tinyllava_core.artifact import aside_of
from tinyllava_core.checkpoints import EXPORT_CARD
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput, unforeseen

_PADDING = (122, 116, 104)  # of what is not square: clip.cpp, PROJECTOR_TYPE_MLP
_PATCHES = {
    "embeddings.patch_embedding.weight": "v.patch_embd.weight",
    "embeddings.position_embedding.weight": "v.position_embd.weight",
}
_ENCODERS = {
    "siglip_vision_model": {"embeddings.patch_embedding.bias": "v.patch_embd.bias"},
    "clip_vision_model": {
        "embeddings.class_embedding": "v.class_embd",
        "pre_layrnorm.weight": "v.pre_ln.weight",
        "pre_layrnorm.bias": "v.pre_ln.bias",
    },
}
_OF_A_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


def write_mmproj(folder: Path, file: Path) -> str:
    """Write `file` out of a folder of transformers' Llava class -> what a person still has to know, or nothing.

    Raises BadInput if the folder is none, or llama.cpp's graph would compute something else.
    """
    if importlib.util.find_spec("gguf") is None:
        raise BadInput(f"{file}: writing it needs the package gguf: pip install 'tinyllava-pipelines[gguf]'")
    import gguf

    config = _config(folder)
    vision, layers = config.vision_config, _num_layers(config)
    mean, std, note = _pixels(folder)
    aside = aside_of(file)
    writer = gguf.GGUFWriter(aside, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", vision.hidden_act != "quick_gelu")  # false: quick_gelu
    for key, value in {
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "embedding_length": vision.hidden_size,
        "feed_forward_length": vision.intermediate_size,
        "block_count": layers,
        "projection_dim": config.text_config.hidden_size,
        "attention.head_count": vision.num_attention_heads,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", vision.layer_norm_eps)
    writer.add_array("clip.vision.image_mean", mean)
    writer.add_array("clip.vision.image_std", std)
    writer.add_array("clip.vision.feature_layer", [layers])  # the state behind so many blocks
    tensors, wanted = dict(_tensors(folder)), _names(vision.model_type, layers)
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise BadInput(f"{folder}: {len(missing)} of its tensors are missing (the first: {missing[0]}); is it whole?")
    for name, theirs in wanted.items():
        writer.add_tensor(theirs, tensors[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    publish(aside, file)
    return note


def _config(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder}: no config.json; expected a folder that `export=hf-llava` or `vllm-llava` wrote")
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a stranger's folder may raise anything in what reads it
        raise BadInput(f"{folder}: transformers does not read its config.json: {unforeseen(error)}") from None
    if config.model_type != "llava":
        raise BadInput(
            f"{folder}: a {config.model_type}, expected transformers' Llava class; of Idefics3's and SmolVLM's "
            "llama.cpp's own converter writes this file too (--mmproj)"
        )
    kind, chosen = config.vision_config.model_type, config.vision_feature_select_strategy
    if kind not in _ENCODERS:
        raise BadInput(f"{folder}: its encoder is a {kind}; llama.cpp's Llava has CLIP's and SigLIP's")
    if (kind == "clip_vision_model") != (chosen == "default"):
        raise BadInput(
            f"{folder}: {chosen!r} of the {kind}'s places are read; llama.cpp reads the patches, all of them"
        )
    if config.projector_hidden_act != "gelu" or not config.multimodal_projector_bias:
        raise BadInput(f"{folder}: its connector is no two-layer MLP with gelu and biases, which is what llama.cpp has")
    return config


def _num_layers(config: Any) -> int:
    """Give how many blocks are run for the state that the connector reads: -2 is all but the last."""
    at, layers = config.vision_feature_layer, int(config.vision_config.num_hidden_layers)
    if not isinstance(at, int):
        raise BadInput(f"vision_feature_layer = {at}: llama.cpp's Llava reads one state")
    return at if at >= 0 else layers + 1 + at


def _names(encoder: str, layers: int) -> dict[str, str]:
    """Name every tensor: behind its prefix in the folder -> in llama.cpp."""
    parts = {
        f"encoder.layers.{n}.{ours}": f"v.blk.{n}.{theirs}"
        for n in range(layers)
        for ours, theirs in _OF_A_BLOCK.items()
    }
    parts |= {"linear_1": "mm.0", "linear_2": "mm.2"}
    pairs = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in parts.items() for kind in ("weight", "bias")}
    return _PATCHES | _ENCODERS[encoder] | pairs


def _tensors(folder: Path) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Give the encoder's and the connector's tensors in float32, by their names behind the prefix."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                for prefix in ("vision_tower.vision_model.", "vision_tower.", "multi_modal_projector."):
                    _, found, rest = name.partition(prefix)
                    if found:
                        yield rest, file.get_tensor(name).float().numpy()
                        break


def _pixels(folder: Path) -> tuple[list[float], list[float], str]:
    """Give mean and deviation of the pixels, and a word where llama.cpp would prepare a picture otherwise than training did."""
    card = folder / EXPORT_CARD
    if card.is_file():
        told = json.loads(card.read_text(encoding="utf-8"))
        mode, mean = told["image_mode"], list(told["vision"]["mean"])
        note = ""
        if mode != "pad" or tuple(int(255 * one) for one in mean) != _PADDING:
            how = f"image_mode={mode}" if mode != "pad" else "the mean of its own encoder around it"
            note = f"llama.cpp lays a picture that is not square on a square of CLIP's mean colour, this model was trained with {how}: give it square ones"
        return mean, list(told["vision"]["std"]), note
    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise BadInput(f"{folder}: nothing says its pixels' mean: {unforeseen(error)}") from None
    return list(processor.image_mean), list(processor.image_std), ""


def main(argv: list[str]) -> int:
    """Write the second word out of the first; give the exit code."""
    transformers_logging.set_verbosity_error()
    folder, file = Path(argv[1]).expanduser(), Path(argv[2]).expanduser()
    try:
        note = write_mmproj(folder, file)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {file}, {file.stat().st_size / 1e6:.1f} MB")
    if note:
        print(f"note: {note}")
    print("next, with llama.cpp:")
    print(f"  python convert_hf_to_gguf.py {folder} --outfile model.gguf")
    print(f"  llama-server -m model.gguf --mmproj {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
