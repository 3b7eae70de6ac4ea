"""What a folder needs so that other versions and other programs read it as this one does. It changes no weight.

transformers 5 writes rotary settings, a tokenizer's class and its extra tokens in words that transformers 4 passes over without
one of its own: it then computes other positions, and answers otherwise. Every tool that renders the chat template and
tokenizes the text must get one first token, not two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.tokenizer import FIRST_TOKEN, load_tokenizer

_OF_THIS_MACHINE = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "special_tokens_map_file")
# What makes a tokenizer's class put a first or last token in again: tokenizer.json alone says what it does.
_OF_A_CLASS = (
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "backend",
    "from_slow",
    "legacy",
    "use_default_system_prompt",
)


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """Say rotary settings in the words of transformers 4 too, at every depth, and no place on this machine."""
    told = {
        key: portable_config(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _OF_THIS_MACHINE
    }
    rope = told.get("rope_parameters")
    return told | _rope_in_old_words(rope) if isinstance(rope, dict) else told


def _rope_in_old_words(rope: dict[str, Any]) -> dict[str, Any]:
    """Source: transformers 4.57, modeling_rope_utils.py and the configurations that name rope_local_base_freq (Gemma 3)."""
    if "full_attention" in rope:
        local = rope.get("sliding_attention", {})
        return _rope_in_old_words(rope["full_attention"]) | {"rope_local_base_freq": local.get("rope_theta")}
    kept = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    scaling = {key: value for key, value in rope.items() if key not in kept}
    return kept | {"rope_scaling": None if scaling.get("rope_type", "default") == "default" else scaling}


def make_tokenizer_portable(folder: Path) -> None:
    """Rewrite the tokenizer's files in `folder`: plain words, and no first token of its own, which the chat template brings.

    What that token was is kept under `first_token`, so that this package still knows it when the folder is imported.
    """
    tokenizer = load_tokenizer(folder)
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    told = {key: value for key, value in config.items() if key not in (*_OF_THIS_MACHINE, *_OF_A_CLASS)}
    extra = told.pop("extra_special_tokens", None)
    if isinstance(extra, list) and extra:
        told["additional_special_tokens"] = [*told.get("additional_special_tokens", []), *extra]
    elif isinstance(extra, dict):
        told |= extra
    told["tokenizer_class"] = "PreTrainedTokenizerFast"
    told["model_input_names"] = [
        "input_ids",
        "attention_mask",
    ]  # else transformers 4 hands the model token types as well
    if tokenizer.bos_id is not None:
        told[FIRST_TOKEN] = tokenizer.token(tokenizer.bos_id)
    write_aside(path, json.dumps(told, indent=2, ensure_ascii=False))
    file = folder / "tokenizer.json"
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    data["post_processor"] = _without_template(data.get("post_processor"))
    write_aside(file, json.dumps(data, ensure_ascii=False))


def _without_template(step: dict[str, Any] | None) -> dict[str, Any] | None:
    if step is None or step["type"] in ("TemplateProcessing", "BertProcessing", "RobertaProcessing"):
        return None
    if step["type"] == "Sequence":
        kept = [part for part in map(_without_template, step["processors"]) if part is not None]
        return {**step, "processors": kept} if kept else None
    return step
