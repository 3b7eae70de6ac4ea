"""The table of language models: one row each, exact keys; and the tokenizer's files of a row. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.parts import architecture, hub, own
from tinyllava_core.parts.prompts import PROMPTS
from tinyllava_core.parts.vision import TOY_BACKBONES


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A causal language model: where its weights are and how it was taught to read."""

    weights: str  # a Hugging Face folder on disk, or a hub name
    revision: str | None = None  # pinned commit of a hub name; None: the newest, and the lineage says so
    width: int
    num_layers: int
    prompt: str | None  # key of data/plan/prompt.py's table, for sft; None: the recipe must name one
    eos: str | None = None  # the token that ends an answer, as its tokenizer says; None: whatever it says
    num_tokens: int | None = None  # of its tokenizer; None: not known here
    config: dict[str, Any] | None = None  # of parts/architecture.py; None: its folder has it


def _row(weights: str, config: dict[str, Any], eos: str | None, num_tokens: int | None = None) -> Language:
    return Language(
        weights=weights,
        config=config,
        width=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        prompt="vicuna",
        eos=eos,
        num_tokens=num_tokens,
    )


_END, _IM_END = "<|endoftext|>", "<|im_end|>"

# Source: each model's config.json and tokenizer_config.json on the hub, from memory: no commit can be looked up where this was
# written, so none is pinned. `eos` and widths are checked against the weights when a model is assembled.
# The prompt is Vicuna's for all, as in the reference implementation: its templates differ in the end token alone.
LANGUAGES: dict[str, Language] = {
    "toy-llama": Language(weights=str(TOY_BACKBONES / "language"), width=128, num_layers=4, prompt="short"),
    "tinyllama-1.1b": _row("TinyLlama/TinyLlama-1.1B-Chat-v1.0", architecture.TINYLLAMA, "</s>", 32000),
    "stablelm-2-1.6b": _row("stabilityai/stablelm-2-1_6b", architecture.STABLELM, _END, 100289),
    "stablelm-2-zephyr-1.6b": _row("stabilityai/stablelm-2-zephyr-1_6b", architecture.STABLELM, _END, 100289),
    "phi-2": _row("microsoft/phi-2", architecture.PHI2, _END, 50295),
    "gemma-2b-it": _row("google/gemma-2b-it", architecture.GEMMA, "<eos>", 256000),
    "gemma-2-2b": _row("google/gemma-2-2b", architecture.GEMMA2, "<eos>", 256000),
    "gemma-2-2b-it": _row("google/gemma-2-2b-it", architecture.GEMMA2, "<eos>", 256000),
    "qwen2-0.5b": _row("Qwen/Qwen2-0.5B", architecture.QWEN2_HALF, _END, 151646),
    "qwen2-0.5b-instruct": _row("Qwen/Qwen2-0.5B-Instruct", architecture.QWEN2_HALF, _IM_END, 151646),
    "qwen2-1.5b": _row("Qwen/Qwen2-1.5B", architecture.QWEN2_MIDDLE, _END, 151646),
    "qwen2-1.5b-instruct": _row("Qwen/Qwen2-1.5B-Instruct", architecture.QWEN2_MIDDLE, _IM_END, 151646),
    "qwen2.5-0.5b": _row("Qwen/Qwen2.5-0.5B", architecture.QWEN2_HALF, _END, 151665),
    "qwen2.5-0.5b-instruct": _row("Qwen/Qwen2.5-0.5B-Instruct", architecture.QWEN2_HALF, _IM_END, 151665),
    "qwen2.5-1.5b": _row("Qwen/Qwen2.5-1.5B", architecture.QWEN2_MIDDLE, _END, 151665),
    "qwen2.5-1.5b-instruct": _row("Qwen/Qwen2.5-1.5B-Instruct", architecture.QWEN2_MIDDLE, _IM_END, 151665),
    "qwen2.5-3b": _row("Qwen/Qwen2.5-3B", architecture.QWEN2_THREE, _END, 151665),
    "qwen2.5-3b-instruct": _row("Qwen/Qwen2.5-3B-Instruct", architecture.QWEN2_THREE, _IM_END, 151665),
    "qwen3-0.6b-base": _row("Qwen/Qwen3-0.6B-Base", architecture.QWEN3_SMALL, _END, 151669),
    "qwen3-0.6b": _row("Qwen/Qwen3-0.6B", architecture.QWEN3_SMALL, _IM_END, 151669),
    "qwen3-1.7b-base": _row("Qwen/Qwen3-1.7B-Base", architecture.QWEN3_MIDDLE, _END, 151669),
    "qwen3-1.7b": _row("Qwen/Qwen3-1.7B", architecture.QWEN3_MIDDLE, _IM_END, 151669),
    "smollm2-135m": _row("HuggingFaceTB/SmolLM2-135M", architecture.SMOLLM2_135M, _END, 49152),
    "smollm2-135m-instruct": _row("HuggingFaceTB/SmolLM2-135M-Instruct", architecture.SMOLLM2_135M, _IM_END, 49152),
    "smollm2-360m": _row("HuggingFaceTB/SmolLM2-360M", architecture.SMOLLM2_360M, _END, 49152),
    "smollm2-360m-instruct": _row("HuggingFaceTB/SmolLM2-360M-Instruct", architecture.SMOLLM2_360M, _IM_END, 49152),
    "smollm2-1.7b": _row("HuggingFaceTB/SmolLM2-1.7B", architecture.SMOLLM2_1_7B, _END, 49152),
    "smollm2-1.7b-instruct": _row("HuggingFaceTB/SmolLM2-1.7B-Instruct", architecture.SMOLLM2_1_7B, _IM_END, 49152),
    "qwen3-4b-base": _row("Qwen/Qwen3-4B-Base", architecture.QWEN3_LARGE, _END, 151669),
    "qwen3-4b": _row("Qwen/Qwen3-4B", architecture.QWEN3_LARGE, _IM_END, 151669),
    # Their end token and vocabulary are not known here where there is none: the tokenizer says it.
    "qwen3.5-0.8b": _row("Qwen/Qwen3.5-0.8B", architecture.QWEN3_5_SMALL, None),
    "qwen3.5-2b": _row("Qwen/Qwen3.5-2B", architecture.QWEN3_5_MIDDLE, None),
    "qwen3.5-4b": _row("Qwen/Qwen3.5-4B", architecture.QWEN3_5_LARGE, None),
    "gemma-3-270m": _row("google/gemma-3-270m", architecture.GEMMA3_270M, "<eos>"),
    "gemma-3-270m-it": _row("google/gemma-3-270m-it", architecture.GEMMA3_270M, None),
    "gemma-3-1b-it": _row("google/gemma-3-1b-it", architecture.GEMMA3_1B, None),
    "smollm3-3b-base": _row("HuggingFaceTB/SmolLM3-3B-Base", architecture.SMOLLM3, None),
    "smollm3-3b": _row("HuggingFaceTB/SmolLM3-3B", architecture.SMOLLM3, _IM_END),
    "llama-3.2-1b-instruct": _row("meta-llama/Llama-3.2-1B-Instruct", architecture.LLAMA_3_2_1B, "<|eot_id|>"),
    "llama-3.2-3b-instruct": _row("meta-llama/Llama-3.2-3B-Instruct", architecture.LLAMA_3_2_3B, "<|eot_id|>"),
    "olmo-2-1b": _row("allenai/OLMo-2-0425-1B", architecture.OLMO2, _END),
    "phi-4-mini": _row("microsoft/Phi-4-mini-instruct", architecture.PHI4_MINI, _END),
    "granite-3.3-2b": _row("ibm-granite/granite-3.3-2b-instruct", architecture.GRANITE, "<|end_of_text|>"),
    "lfm2-350m": _row("LiquidAI/LFM2-350M", architecture.LFM2_350M, _IM_END),
    "lfm2-700m": _row("LiquidAI/LFM2-700M", architecture.LFM2_700M, _IM_END),
    "lfm2-1.2b": _row("LiquidAI/LFM2-1.2B", architecture.LFM2_1_2B, _IM_END),
}


def language_row(name: str) -> Language:
    """Give a language model's row: a key of LANGUAGES, a folder or hub's name of any causal model that transformers holds, or
    KEY=PLACE, that row with its weights in such a place.

    Raises BadInput for a name that is none of them.
    """
    if name in LANGUAGES:
        return LANGUAGES[name]
    key, _, place = name.partition("=")
    if place and key in LANGUAGES:
        return replace(LANGUAGES[key], weights=own.placed(place, "language model"), revision=None)
    if not own.is_place(name):
        raise unknown("language model", name, LANGUAGES)
    weights = own.placed(name, "language model")
    data = own.read(weights, "config.json", "language model")
    if data.get("model_type") in own.CLASS_TOKENS and "text_config" not in data:
        raise BadInput(f"language model {weights!r}: its config.json is a vision encoder's ({data['model_type']})")
    data = data.get("text_config", data)  # a whole checkpoint's folder has it inside, and its tokenizer beside
    try:
        return Language(weights=weights, width=data["hidden_size"], num_layers=data["num_hidden_layers"], prompt=None)
    except KeyError as missing:
        raise BadInput(
            f"{weights}: its config.json has no {missing}; expected a causal language model of transformers"
        ) from None


def prompt_of(given: str | None, language: Language) -> str:
    """Give the prompt format of a stage: the recipe's word, or the row's. Raises BadInput where neither says one."""
    if given is None and language.prompt is None:
        raise BadInput(
            f"language model {language.weights}: set the stage's `prompt`, as in --set pretrain.prompt=plain sft.prompt=chatml: a "
            f"folder does not say how it was taught; known: {', '.join(PROMPTS)}"
        )
    return given or str(language.prompt)


def tokenizer_folder(language: Language) -> Path:
    """Give the folder with the language model's tokenizer, fetching it from the hub where the row names one.

    The commit that this machine has is taken, as its weights are. Raises BadInput if it cannot be had.
    """
    folder = Path(language.weights)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    revision = language.revision or hub.commit_here(language.weights)
    wanted = ["tokenizer*", "special_tokens_map.json", "generation_config.json"]
    try:
        return Path(snapshot_download(language.weights, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BadInput(
            f"the tokenizer of {hub.refused(language.weights, revision, error.__cause__ or error)}"
        ) from None
