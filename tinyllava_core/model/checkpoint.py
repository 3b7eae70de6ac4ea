"""A checkpoint is one self-describing Hugging Face folder. Assemble a new model, save one, load one; nothing is trained.

Beside transformers' files it holds `tinyllava.json`: schema version, parts, prompt format, image mode.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CLIPVisionModel,
    GenerationConfig,
    LlavaConfig,
    PreTrainedModel,
    SiglipVisionModel,
)
from transformers.initialization import no_init_weights

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts import LANGUAGES, VISIONS, Vision, tokenizer_folder
from tinyllava_core.settings.model import ImageMode, Model
from tinyllava_core.tokenizer import load_tokenizer

SCHEMA = 1
_VISION_CLASSES: dict[str, type[PreTrainedModel]] = {
    "siglip_vision_model": SiglipVisionModel,
    "siglip": SiglipVisionModel,
    "clip_vision_model": CLIPVisionModel,
    "clip": CLIPVisionModel,
}
_HUB_NAMES = (
    ("model.vision_tower.", "vision_tower.vision_model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
_TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "added_tokens.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What `tinyllava.json` says of a checkpoint."""

    schema: int
    vision: Vision
    language: str
    connector: str
    prompt: str  # the format it was trained to be asked in
    image_mode: ImageMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checkpoint in memory, with all that is needed to ask it something."""

    model: TinyLlava
    card: Card
    folder: Path

    @property
    def vision(self) -> Vision:
        """The encoder's row: image size, mean, tokens."""
        return self.card.vision

    @property
    def prompt(self) -> str:
        """The prompt format it was trained with."""
        return self.card.prompt

    @property
    def image_mode(self) -> ImageMode:
        """How an image becomes the encoder's input."""
        return self.card.image_mode


def assemble(parts: Model, seed: int) -> TinyLlava:
    """Put the pretrained encoder and language model together with a fresh, seeded connector, in float32.

    Raises BadInput where weights cannot be had or the row does not describe them.
    """
    row, language_row = VISIONS[parts.vision], LANGUAGES[parts.language]
    vision = _load_vision(row)
    language = _from_pretrained(AutoModelForCausalLM, language_row.weights, language_row.revision)
    found = (
        vision.config.hidden_size,
        vision.config.num_hidden_layers,
        vision.config.image_size,
        vision.config.patch_size,
    )
    wanted = (row.width, row.num_layers, row.image_size, row.patch_size)
    if found != wanted:
        raise BadInput(
            f"vision encoder {parts.vision!r}: width, layers, image and patch size are {found}, its row in parts.py says {wanted}"
        )
    tokenizer = load_tokenizer(tokenizer_folder(language_row))
    if tokenizer.size > language.config.vocab_size:
        language.resize_token_embeddings(tokenizer.size)
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=language.config,
        image_token_index=tokenizer.image_id,
        image_seq_length=row.num_patches,
        vision_feature_layer=parts.vision_layer,
        vision_feature_select_strategy="default" if row.num_class_tokens else "full",
        tie_word_embeddings=language.config.tie_word_embeddings,
    )
    config.connector, config.connector_layers = parts.connector, parts.connector_layers
    config.head_bias = getattr(language.lm_head, "bias", None) is not None
    torch.manual_seed(seed)
    model = TinyLlava(config)
    model.model.vision_tower = _without_head(vision)
    model.model.language_model = language.base_model
    model.lm_head = language.lm_head
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_id, eos_token_id=list(tokenizer.eos_ids), pad_token_id=tokenizer.pad_id
    )
    return model


def save(model: TinyLlava, parts: Model, prompt: str, tokenizer_from: Path, folder: Path) -> None:
    """Write a checkpoint: weights, configuration, tokenizer, image settings, card. The folder appears whole or not at all."""
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    row = VISIONS[parts.vision]
    aside.mkdir(parents=True)
    save_file(hub_tensors(model), aside / "model.safetensors", metadata={"format": "pt"})
    model.generation_config.save_pretrained(aside)
    config = model.config.to_dict()
    config["model_type"] = "llava" if is_plain_llava(model) else "tinyllava"
    config["architectures"] = ["LlavaForConditionalGeneration" if is_plain_llava(model) else "TinyLlava"]
    write_aside(aside / "config.json", json.dumps(config, indent=2))
    load_tokenizer(tokenizer_from).save(aside)
    for name in _TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, aside / name)
    write_aside(aside / "preprocessor_config.json", json.dumps(_processor(row), indent=2))
    card = Card(
        schema=SCHEMA,
        vision=row,
        language=parts.language,
        connector=parts.connector,
        prompt=prompt,
        image_mode=parts.image_mode,
    )
    write_aside(aside / "tinyllava.json", json.dumps(dataclasses.asdict(card), indent=2))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def load(folder: Path, *, precision: str = "fp32", device: str = "cpu") -> Loaded:
    """Load a checkpoint for use. Raises BadInput if the folder is not one, or of a newer schema."""
    path = folder / "tinyllava.json"
    if not path.is_file():
        raise BadInput(
            f"{folder}: not a checkpoint of this package (no tinyllava.json); a trained stage keeps its own in checkpoint/"
        )
    data = json.loads(path.read_text())
    if data["schema"] != SCHEMA:
        raise BadInput(
            f"{path}: checkpoint schema {data['schema']}, this version reads {SCHEMA}; load it with the version that wrote it"
        )
    card = Card(**{**data, "vision": Vision(**_tuples(data["vision"]))})
    model = _load_model(folder).to(device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return Loaded(model=model.eval(), card=card, folder=folder)


def load_model(folder: Path) -> TinyLlava:
    """Load a checkpoint's model alone, in float32, to train it on."""
    return load(folder).model.train()


def is_plain_llava(model: TinyLlava) -> bool:
    """Tell whether transformers' own Llava class holds this model exactly: two-layer MLP, no extras at the head."""
    text = model.config.text_config
    plain_connector = (
        getattr(model.config, "connector", "mlp") == "mlp" and getattr(model.config, "connector_layers", 2) == 2
    )
    return plain_connector and model.lm_head.bias is None and getattr(text, "final_logit_softcapping", None) is None


def hub_tensors(model: TinyLlava) -> dict[str, Tensor]:
    """Give the weights under the names that Llava checkpoints bear on the hub, which every version and server reads."""
    tied = model.config.tie_word_embeddings
    return {
        _hub_name(name): tensor.detach().to("cpu", copy=False).contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }


def _hub_name(name: str) -> str:
    for ours, theirs in _HUB_NAMES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(f"no hub name for the parameter {name!r}")


def _without_head(vision: Any) -> Any:
    """Spare SigLIP's pooling head, whose output nothing reads; its weights stay, so that the encoder is still the hub's."""
    if hasattr(vision, "use_head"):
        vision.use_head = False
    return vision


def _load_model(folder: Path) -> TinyLlava:
    data = json.loads((folder / "config.json").read_text())
    data["model_type"] = "llava"
    with no_init_weights():
        model = TinyLlava(LlavaConfig.from_dict(data))
    found = {_our_name(name): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    wanted = model.state_dict()
    missing = sorted(set(wanted) - set(found) - ({"lm_head.weight"} if model.config.tie_word_embeddings else set()))
    wrong = sorted(name for name in found if name not in wanted or found[name].shape != wanted[name].shape)
    if missing or wrong:
        raise BadInput(
            f"{folder}: weights and configuration disagree: {len(missing)} missing {missing[:2]}, {len(wrong)} unknown or of "
            f"another shape {wrong[:2]}; the folder is damaged or was changed by hand"
        )
    model.load_state_dict(found, strict=False)
    model.tie_weights()
    model.generation_config = GenerationConfig.from_pretrained(folder)
    _without_head(model.model.vision_tower)
    return model.float()


def _our_name(name: str) -> str:
    for ours, theirs in reversed(_HUB_NAMES):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _load_vision(row: Vision) -> PreTrainedModel:
    config = _from_pretrained(AutoConfig, row.weights, row.revision)
    if config.model_type not in _VISION_CLASSES:
        raise BadInput(
            f"{row.weights}: model type {config.model_type!r} is not a vision encoder known here: {', '.join(_VISION_CLASSES)}"
        )
    return _from_pretrained(_VISION_CLASSES[config.model_type], row.weights, row.revision)


def _from_pretrained(kind: Any, weights: str, revision: str | None) -> Any:
    extra = {} if kind is AutoConfig else {"dtype": torch.float32}
    try:
        return kind.from_pretrained(weights, revision=revision, trust_remote_code=False, **extra)
    except OSError as error:
        first = str(error).strip().splitlines()[0]
        raise BadInput(
            f"the weights {weights!r} are neither a folder, nor in the hub's cache, nor to be fetched: {first} "
            "Connect to the hub once, or set HF_HOME to a cache that holds them"
        ) from None


def _processor(row: Vision) -> dict[str, Any]:
    size = {"shortest_edge": row.image_size} if row.crop else {"height": row.image_size, "width": row.image_size}
    return {
        "image_processor_type": "CLIPImageProcessor" if row.crop else "SiglipImageProcessor",
        "do_resize": True,
        "size": size,
        "do_center_crop": row.crop,
        "crop_size": {"height": row.image_size, "width": row.image_size} if row.crop else None,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(row.mean),
        "image_std": list(row.std),
        "do_convert_rgb": True,
    }


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
