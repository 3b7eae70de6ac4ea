"""The folder that vLLM's Llava class reads: the language model behind it is one of its own class, so its head keeps a bias (Phi-2).

transformers' Llava class would drop that bias. So the proof loads what vLLM puts together, from the same folder and strictly: tower and
connector of the Llava class, the language model as its own class. vLLM itself is not run here.
Source: vLLM 0.32, models/llava.py (init_vllm_registered_model of text_config) and models/transformers/causal.py (lm_head.bias).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlavaForConditionalGeneration
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tinyllava_core.artifact import write_aside
from tinyllava_core.model.checkpoint import why_not_plain_llava
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts.picture import Scheme

_LANGUAGE = "language_model."


def why_not(model: TinyLlava, scheme: Scheme) -> str | None:
    """Say what that class cannot hold of this model; None if it holds it exactly."""
    if model.lm_head.softcap is not None or model.lm_head.divisor != 1.0:
        return "its logits are capped or divided, which was not looked at in that class"
    if not scheme.is_fixed:
        return f"its image_mode is {scheme.mode}, that class takes whole pictures"
    if model.config.vision_config.model_type not in ("clip_vision_model", "siglip_vision_model"):
        return f"its encoder is a {model.config.vision_config.model_type}, that class has CLIP and SigLIP"
    return why_not_plain_llava(model, own_head=True)


def write(out: Path) -> None:
    """Say in a checkpoint's config.json which classes read it."""
    path = out / "config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config |= {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}
    config["text_config"]["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config["text_config"]["model_type"]]]
    write_aside(path, json.dumps(config, indent=2))


class InParts:
    """What vLLM puts together of a folder. Raises RuntimeError if a weight of it is missing or left over."""

    def __init__(self, out: Path) -> None:
        how = {"dtype": torch.float32, "output_loading_info": True}
        self._llava, report = LlavaForConditionalGeneration.from_pretrained(out, **how)
        language = {
            name.removeprefix(_LANGUAGE): tensor
            for name, tensor in load_file(out / "model.safetensors").items()
            if name.startswith(_LANGUAGE)
        }
        left = {name.removeprefix(_LANGUAGE) for name in report["unexpected_keys"]} - set(language)
        self._language: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(out).text_config)
        missing, unexpected = self._language.load_state_dict(language, strict=False)
        tied = {"lm_head.weight"} if self._language.config.tie_word_embeddings else set()
        if report["missing_keys"] or left or unexpected or set(missing) - tied:
            raise RuntimeError(f"{out}: missing {missing}, left over {sorted(left)} {unexpected}; not kept")
        self._language.tie_weights()
        self._language.float().eval()
        self._llava.eval()

    def logits(self, given: dict[str, Tensor]) -> Tensor:
        """Give the logits of a question -> [1, T, vocabulary]."""
        found: Tensor = self._language(inputs_embeds=self._embedded(given)).logits
        return found

    def say(self, given: dict[str, Tensor], how: dict[str, Any]) -> Tensor:
        """Answer a question -> the new tokens [1, N]."""
        said: Tensor = self._language.generate(
            inputs_embeds=self._embedded(given), attention_mask=given["attention_mask"], **how
        )
        return said

    def _embedded(self, given: dict[str, Tensor]) -> Tensor:
        ids_1T = given["input_ids"]
        image_ID = torch.cat(list(self._llava.get_image_features(given["pixel_values"]).pooler_output))
        embedded_1TD: Tensor = self._language.get_input_embeddings()(ids_1T)
        return embedded_1TD.masked_scatter((ids_1T == self._llava.config.image_token_id)[..., None], image_ID)
