"""A checkpoint is one self-describing Hugging Face folder: save one, load one; nothing is assembled or trained.

Beside transformers' files it holds `tinyllava.json`: schema version, parts, prompt format, image mode, tokens of an image.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, LlavaConfig
from transformers.initialization import no_init_weights

from tinyllava_core.artifact import write_aside
from tinyllava_core.checkpoints import CARD
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput, strange
from tinyllava_core.model import lora
from tinyllava_core.model.assemble import without_head
from tinyllava_core.model.portable import portable_config
from tinyllava_core.model.processor import write_processor
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.model.vision.native import NAFLEX
from tinyllava_core.parts import Vision
from tinyllava_core.parts.picture import Scheme
from tinyllava_core.settings.model import ImageMode, Model, Pixels
from tinyllava_core.tokenizer import load_tokenizer

SCHEMA = 2
_HUB_NAMES = (
    ("model.vision_tower.", "vision_tower."),  # the encoders of _IN_A_LEVEL_MORE: vision_tower.vision_model.
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.image_newline.weight", "image_newline"),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
_IN_A_LEVEL_MORE = ("clip_vision_model", "siglip_vision_model")
_TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What `tinyllava.json` says of a checkpoint."""

    schema: int
    vision: Vision
    language: str
    connector: str
    tokens_per_image: int  # that the language model reads
    prompt: str  # the format it was trained to be asked in
    image_mode: ImageMode
    pixels: Pixels = "fast"  # a card from before this was a choice does not say
    scheme: Scheme | None = None  # how it cuts pictures; None: it does not


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
    def tokens_per_image(self) -> int:
        """Tokens of one image that the language model reads."""
        return self.card.tokens_per_image

    @property
    def prompt(self) -> str:
        """The prompt format it was trained with."""
        return self.card.prompt

    @property
    def image_mode(self) -> ImageMode:
        """How an image becomes the encoder's input."""
        return self.card.image_mode

    @property
    def scheme(self) -> Scheme:
        """How pictures are cut."""
        card = self.card
        return card.scheme or Scheme(mode=card.image_mode, tile=card.vision.image_size, tokens=card.tokens_per_image)


def save(model: TinyLlava, parts: Model, prompt: str, tokenizer_from: Path, folder: Path) -> None:
    """Write the checkpoint of a stage: see `write`."""
    card = Card(
        schema=SCHEMA,
        vision=parts.seen,
        language=parts.language,
        connector=parts.connector,
        tokens_per_image=parts.tokens_per_image,
        prompt=prompt,
        image_mode=parts.image_mode,
        pixels=parts.pixels,
        scheme=None if parts.scheme.is_fixed else parts.scheme,
    )
    write(model, card, tokenizer_from, folder)


def check_place(folder: Path) -> None:
    """Raise BadInput if a checkpoint written here would take the place of what is none."""
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not (folder / CARD).is_file():
        raise BadInput(f"{folder}: is there already, and is no checkpoint; name another folder")


def write(model: TinyLlava, card: Card, tokenizer_from: Path, folder: Path) -> None:
    """Write weights, configuration, tokenizer, processor, chat template, card. The folder appears whole or not at all.

    A checkpoint that is there is replaced. Raises BadInput where the folder holds anything else.
    """
    check_place(folder)
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(hub_tensors(model), aside / "model.safetensors", metadata={"format": "pt"})
    (aside / "model.safetensors").chmod(0o666 & ~_umask())  # safetensors makes it its owner's alone
    lora.save(model, aside)
    model.generation_config.save_pretrained(aside)
    config = model.config.to_dict()
    config["model_type"] = "llava" if is_plain_llava(model) else "tinyllava"
    config["architectures"] = ["LlavaForConditionalGeneration" if is_plain_llava(model) else "TinyLlava"]
    write_aside(aside / "config.json", json.dumps(portable_config(config), indent=2))
    load_tokenizer(tokenizer_from, card.scheme.marks if card.scheme else ()).save(aside)
    for name in _TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, aside / name)
    write_processor(card.vision, card.image_mode, card.tokens_per_image, card.prompt, aside)
    write_aside(aside / CARD, json.dumps(dataclasses.asdict(card), indent=2))
    shutil.rmtree(folder, ignore_errors=True)
    publish(aside, folder)


def load(folder: Path, *, precision: str = "fp32", device: str = "cpu") -> Loaded:
    """Load a checkpoint for use. Raises BadInput if the folder is not one, or of a newer schema."""
    path = folder / CARD
    if not path.is_file():
        raise BadInput(
            f"{folder}: not a checkpoint of this package (no tinyllava.json); a trained stage keeps its own in checkpoint/"
        )
    with strange(path):
        data = json.loads(path.read_text())
        if data["schema"] != SCHEMA:
            raise BadInput(
                f"{path}: checkpoint schema {data['schema']}, this version reads {SCHEMA}; load it with the version that wrote it"
            )
        scheme = Scheme(**_tuples(data["scheme"])) if data.get("scheme") else None
        card = Card(**{**data, "vision": Vision(**_tuples(data["vision"])), "scheme": scheme})
    with strange(f"checkpoint {folder}"):
        model = _load_model(folder).to(device)
    if precision == "bf16":
        cast_parameters(model, torch.bfloat16)
    return Loaded(model=model.eval(), card=card, folder=folder)


def cast_parameters(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters alone. Buffers stay: rotary frequencies in bf16 are off by a radian at token 1,500."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def load_model(folder: Path) -> TinyLlava:
    """Load a checkpoint's model alone, in float32, to train it on."""
    return load(folder).model.train()


def is_plain_llava(model: TinyLlava) -> bool:
    """Tell whether transformers' own Llava class holds this model exactly: two-layer MLP, no extras at the head."""
    return why_not_plain_llava(model) is None


def why_not_its_head(model: TinyLlava) -> str | None:
    """Say what none of transformers' classes for models that see can hold of this model's head; None if they can."""
    if model.lm_head.bias is not None:
        return "its head has a bias (Phi), which that class would drop"
    if model.lm_head.divisor != 1.0:
        return "its logits are divided (Granite), which that class would not do"
    if model.lm_head.softcap is not None:
        return "its logits are soft-capped (Gemma 2), which that class would not do"
    return None


def why_not_plain_llava(model: TinyLlava, *, own_head: bool = False) -> str | None:
    """Say what transformers' own Llava class cannot hold of this model; None if it holds it exactly.

    `own_head`: but for its head, where whoever reads it has the language model's own.
    """
    if (model.shape.kind, model.shape.layers) != ("mlp", 2):
        layers = f" of {model.shape.layers} layers" if model.shape.layers else ""
        return f"its connector is {model.shape.kind}{layers}, that class has a two-layer MLP"
    if not own_head and (head := why_not_its_head(model)) is not None:
        return head
    if model.config.vision_config.model_type == "clip_dinov2":
        return "its vision part is two encoders, that class has one"
    if model.config.vision_config.model_type == NAFLEX:
        return "its encoder takes patches of pictures of any shape, that class gives it squares"
    if model.config.num_skipped > 1:
        return f"its encoder has {model.config.num_skipped} leading tokens that are no patches, that class drops one"
    if model.config.final_norm:
        return "its connector reads the encoder's last state behind its norm, that class in front of it"
    if model.config.newline:
        return "its pictures are cut as LLaVA-NeXT's are, which that class does not do"
    if lora.adapted(model) is not None:
        return "its language model has adapters that are not merged"
    return None


def other_in_transformers_4(model: TinyLlava) -> str | None:
    """Say why the same folder is another model in transformers 4; None if it is the same."""
    if model.config.text_config.model_type in ("gemma", "gemma2"):
        return (
            "transformers 4 multiplies Gemma's image tokens by sqrt(width), which 5 does not: load this folder with 5"
        )
    return None


def hub_tensors(model: TinyLlava) -> dict[str, Tensor]:
    """Give the weights under the names that Llava checkpoints bear on the hub, which every version and server reads."""
    return {name: tensor.detach().to("cpu", copy=False).contiguous() for name, tensor in named_for_hub(model).items()}


def named_for_hub(model: TinyLlava) -> dict[str, Tensor]:
    """Give a model's own tensors, adapters aside, by their names in a file."""
    tied = model.config.tie_word_embeddings
    level = "vision_model." if model.config.vision_config.model_type in _IN_A_LEVEL_MORE else ""
    return {
        hub_name(name, level): tensor
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight") and lora.MARK not in name
    }


def hub_name(name: str, vision_level: str) -> str:
    """Turn a parameter's name in memory into its name in a file."""
    for ours, theirs in _HUB_NAMES:
        if name.startswith(ours):
            return theirs + (vision_level if theirs == "vision_tower." else "") + name.removeprefix(ours)
    raise AssertionError(f"no hub name for the parameter {name!r}")


def _load_model(folder: Path) -> TinyLlava:
    data = json.loads((folder / "config.json").read_text())
    data["model_type"] = "llava"
    with no_init_weights():
        model = TinyLlava(LlavaConfig.from_dict(data))
    found = {our_name(name): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
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
    without_head(model.model.vision_tower)
    lora.load(model, folder)
    return model.float()


def our_name(name: str) -> str:
    """Turn a parameter's name in a file into its name in memory. Knows the encoder's with and without `vision_model`."""
    for ours, theirs in reversed(_HUB_NAMES):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs).removeprefix("vision_model." if theirs == "vision_tower." else "")
    return name


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in data.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _umask() -> int:
    """Read this process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
