"""Put a new model together: pretrained encoder and language model, fresh connector; or its bare shapes, without any weights.

It saves nothing and trains nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Aimv2VisionModel,
    AutoConfig,
    AutoModelForCausalLM,
    CLIPVisionModel,
    Dinov2Model,
    DINOv3ViTModel,
    GenerationConfig,
    LlavaConfig,
    PreTrainedModel,
    Siglip2VisionModel,
    SiglipVisionModel,
)
from transformers.initialization import no_init_weights

from tinyllava_core.errors import BadInput
from tinyllava_core.model import mixers
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.model.vision.mixture import MixtureConfig, MixtureVision
from tinyllava_core.model.vision.native import FIXED, as_naflex, naflex_config
from tinyllava_core.parts import LANGUAGES, VISIONS, Language, Vision, language_row, tokenizer_folder
from tinyllava_core.parts.architecture import VISION_CONFIGS
from tinyllava_core.parts.described import Kind, described
from tinyllava_core.parts.hub import commit_here
from tinyllava_core.settings.model import Model
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer

_COMMITS: dict[str, str] = {}  # hub name -> commit, of this process: see `pin`
_VISION_CLASSES: dict[str, type[PreTrainedModel]] = {
    "siglip_vision_model": SiglipVisionModel,
    "siglip": SiglipVisionModel,
    "siglip2_vision_model": Siglip2VisionModel,
    "siglip2": Siglip2VisionModel,
    "clip_vision_model": CLIPVisionModel,
    "clip": CLIPVisionModel,
    "aimv2_vision_model": Aimv2VisionModel,
    "aimv2": Aimv2VisionModel,
    "dinov2": Dinov2Model,
    "dinov3_vit": DINOv3ViTModel,
}
_CHECKED = (  # of a configuration, against parts/architecture.py
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "image_size",
    "patch_size",
    "num_patches",
    "vocab_size",
    "tie_word_embeddings",
)


def assemble(parts: Model, seed: int) -> TinyLlava:
    """Put the pretrained encoder and language model together with a fresh, seeded connector, in float32.

    Raises BadInput where weights cannot be had or the row does not describe them.
    """
    row, language = VISIONS[parts.vision], language_row(parts.language)
    tokenizer = load_tokenizer(tokenizer_folder(language))
    _check_tokenizer(language, tokenizer)
    vision = load_encoder(parts)
    _check_vision(parts.vision, row, vision.config)
    text_config = from_pretrained(AutoConfig, language.weights, language.revision).get_text_config(decoder=True)
    mixers.check_known(text_config, parts.language)
    _check_config(f"language model {parts.language!r}", text_config, language.config or {})
    members = [VISIONS[member] for member in row.mixture] or [row]
    commits = {"vision": _commits(members), "language": _commits([language])}
    text_config.vocab_size = max(text_config.vocab_size, tokenizer.size)
    config = configure(parts, vision.config, text_config, tokenizer.image_id)
    config.commits = commits
    torch.manual_seed(seed)
    model = TinyLlava(config)
    model.model.vision_tower = without_head(vision)
    del model.model.language_model, model.lm_head.weight  # two language models at once may not fit into memory
    _take_language(model, language, tokenizer.size)
    if parts.language not in LANGUAGES:
        _check_head(model, language)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_id, eos_token_id=list(tokenizer.eos_ids), pad_token_id=tokenizer.pad_id
    )
    return model


def skeleton(parts: Model) -> TinyLlava:
    """Make the model of its published sizes on the meta device: shapes, names and counts, without a byte of weights."""
    with torch.device("meta"), no_init_weights():
        return TinyLlava(published(parts))


def published(parts: Model) -> LlavaConfig:
    """Write the configuration that a model of these rows would have, without any weights."""
    row, language = VISIONS[parts.vision], language_row(parts.language)
    text_config = config_of("language", parts.language)
    if language.num_tokens is not None:
        more = 1 + len(parts.scheme.marks)  # <image>, and the places of tiles
        text_config.vocab_size = max(text_config.vocab_size, language.num_tokens + more)
    if row.mixture:
        vision_config = mixture_config(*(config_of("vision", member) for member in row.mixture))
    else:
        vision_config = config_of("vision", parts.vision)
        if parts.image_mode == "native" and vision_config.model_type == FIXED:
            vision_config = naflex_config(vision_config)
    return configure(parts, vision_config, text_config, 0)


def configure(parts: Model, vision_config: Any, text_config: Any, image_id: int) -> LlavaConfig:
    """Write the configuration of a model: transformers' own fields, and ours (see TinyLlava).

    Raises BadInput if the connector is to read a norm that the encoder does not have.
    """
    row = parts.seen
    if parts.vision_layer == "final" and vision_config.model_type in ("clip_vision_model", "clip_dinov2"):
        raise BadInput(
            f"vision_layer 'final': {parts.vision!r} has CLIP in it, whose last norm is for its class token alone; expected -1, -2, ..."
        )
    config = LlavaConfig(
        vision_config=vision_config,
        text_config=text_config,
        image_token_index=image_id,
        image_seq_length=parts.tokens_per_image,
        vision_feature_layer=parts.layer,
        vision_feature_select_strategy="default" if row.num_skipped else "full",
        tie_word_embeddings=text_config.tie_word_embeddings,
    )
    config.connector, config.num_skipped = dataclasses.asdict(parts.shape), row.num_skipped
    config.final_norm, config.newline = parts.vision_layer == "final", parts.scheme.mode == "anyres"
    config.head_bias = head_has_bias(text_config)
    return config


def load_encoder(parts: Model) -> PreTrainedModel:
    """Load a model's vision encoder with its weights, for pictures of any shape where its `image_mode` is native."""
    encoder = load_vision(parts.vision)
    return as_naflex(encoder) if parts.image_mode == "native" and isinstance(encoder, SiglipVisionModel) else encoder


def load_vision(name: str) -> PreTrainedModel:
    """Load a vision encoder with its weights; the members of a mixture, each with its own."""
    row = VISIONS[name]
    if row.mixture:
        clip, dinov2 = (load_vision(member) for member in row.mixture)
        with torch.device("meta"):
            mixture = MixtureVision(mixture_config(clip.config, dinov2.config))
        mixture.clip, mixture.dinov2 = clip, dinov2
        return mixture
    config = from_pretrained(AutoConfig, row.weights, row.revision)
    if config.model_type not in _VISION_CLASSES:
        raise BadInput(
            f"{row.weights}: model type {config.model_type!r} is not a vision encoder known here: {', '.join(_VISION_CLASSES)}"
        )
    loaded: PreTrainedModel = from_pretrained(_VISION_CLASSES[config.model_type], row.weights, row.revision)
    _check_config(f"vision encoder {name!r}", loaded.config, VISION_CONFIGS.get(name.partition("=")[0], {}))
    return loaded


def without_head(vision: Any) -> Any:
    """Spare SigLIP's and AIMv2's pooling head, whose output nothing reads; its weights stay, so that the encoder is still the hub's."""
    if hasattr(vision, "use_head"):
        vision.use_head = False
    return vision


def pin(commits: Mapping[str, str]) -> None:
    """Load hub names at these commits in this process, where a part's row pins none."""
    _COMMITS.update(commits)


def from_pretrained(kind: Any, weights: str, revision: str | None) -> Any:
    """Load by a folder or a hub name, in float32, never running code that comes with it. Raises BadInput where it cannot be had."""
    extra = {} if kind is AutoConfig else {"dtype": torch.float32}
    try:
        return kind.from_pretrained(
            weights, revision=revision or _COMMITS.get(weights), trust_remote_code=False, **extra
        )
    except OSError as error:
        first = str(error).strip().splitlines()[0]
        raise BadInput(
            f"the weights {weights!r} are neither a folder, nor in the hub's cache, nor to be fetched: {first} "
            "Connect to the hub once, or set HF_HOME to a cache that holds them"
        ) from None


def config_of(kind: Kind, name: str) -> Any:
    """Give a part's configuration without its weights: its own where that is on this disk, else its row's.

    Raises BadInput where there is neither, or the two disagree.
    """
    ((published, own),) = described(kind, name)
    if own is None and published is not None:
        return AutoConfig.for_model(**published)
    row = VISIONS[name] if kind == "vision" else language_row(name)
    config = from_pretrained(AutoConfig, row.weights if own is None else str(own.parent), None)
    config = getattr(config, "vision_config", config)  # CLIP's and SigLIP's files describe a text encoder too
    config = config.get_text_config(decoder=True) if kind == "language" else config
    _check_config(f"{kind} {name!r}", config, published or {})
    return config


def _take_language(model: TinyLlava, row: Language, num_tokens: int) -> None:
    language = from_pretrained(AutoModelForCausalLM, row.weights, row.revision)
    if num_tokens > language.config.vocab_size:
        language.resize_token_embeddings(num_tokens)
    model.config.text_config = language.config
    model.model.language_model, head = language.base_model, language.get_output_embeddings()
    model.lm_head.weight, model.lm_head.bias = head.weight, head.bias


@torch.no_grad()
def _check_head(model: TinyLlava, row: Language) -> None:
    """Raise BadInput where a family does more to its logits than a bias and soft-capping: we would compute others."""
    language = from_pretrained(AutoModelForCausalLM, row.weights, row.revision)
    ids = torch.arange(4)[None]
    hidden = model.model.language_model(input_ids=ids, use_cache=False).last_hidden_state
    worst = float(
        (language(input_ids=ids).logits - model.lm_head(hidden)[..., : language.config.vocab_size]).abs().max()
    )
    if not worst < 1e-3:
        raise BadInput(
            f"{row.weights}: logits differ by {worst:.2g} from its own class's; models of type "
            f"{language.config.model_type!r} treat them in a way that is not supported here"
        )


def head_has_bias(text_config: Any) -> bool:
    """Tell whether a language model's own class has a bias at its head."""
    with torch.device("meta"):
        head = AutoModelForCausalLM.from_config(text_config).get_output_embeddings()
    return getattr(head, "bias", None) is not None


def mixture_config(clip: Any, dinov2: Any) -> MixtureConfig:
    """Write the configuration of two encoders as one."""
    return MixtureConfig(
        clip=clip,
        dinov2=dinov2,
        image_size=clip.image_size,
        patch_size=clip.patch_size,
        hidden_size=clip.hidden_size,
        num_hidden_layers=clip.num_hidden_layers,
    )


def _commits(rows: Sequence[Vision | Language]) -> str | None:
    """Say which commits of the hub these weights were loaded at; None for a folder. transformers' own objects do not tell it."""
    found = [
        row.revision or _COMMITS.get(row.weights) or commit_here(row.weights)
        for row in rows
        if not Path(row.weights).is_dir()
    ]
    return " ".join(commit for commit in found if commit) or None


def _check_tokenizer(language: Language, tokenizer: Tokenizer) -> None:
    found = tokenizer.decode([tokenizer.eos_id], keep_special=True)
    if language.eos is not None and found != language.eos:
        raise BadInput(
            f"{language.weights}: its tokenizer ends an answer with {found!r}, its row in parts/language.py says {language.eos!r}; "
            "another version, or another model's tokenizer"
        )


def _check_vision(name: str, row: Vision, config: Any) -> None:
    found = (config.hidden_size, config.num_hidden_layers, config.patch_size)
    wanted = (row.width, row.num_layers, row.patch_size)
    if found != wanted:
        raise BadInput(
            f"vision encoder {name!r}: width, layers and patch size are {found}, its row in parts/vision.py says {wanted}"
        )


def _check_config(what: str, config: Any, row: dict[str, Any]) -> None:
    for key in _CHECKED:
        found = getattr(config, key, None)
        if key in row and found != row[key]:
            raise BadInput(f"{what}: {key} is {found}, its row in parts/architecture.py says {row[key]}")
