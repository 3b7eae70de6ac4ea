"""Every field that a user may set: meaning, unit, source. A recipe is data; nothing here trains.

`load("base", {"sft.language.lr": 1e-5})` gives one checked, frozen Recipe. The paper's recipes are `recipes/*.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tinyllava_core.errors import BadInput, nearest, unknown
from tinyllava_core.frozen import Frozen, known_keys, read_yaml
from tinyllava_core.parts import CONNECTORS, LANGUAGES, VISIONS

RECIPES = Path(__file__).parent / "recipes"
PART_NAMES = ("vision", "connector", "language")
StageName = Literal["pretrain", "sft"]
ImageMode = Literal["square", "pad"]


class Model(Frozen):
    """Which parts the model is made of, and how a picture becomes their input."""

    vision: str = Field(description="Vision encoder: a key of parts.VISIONS.")
    connector: str = Field("mlp", description="Connector: a key of parts.CONNECTORS.")
    connector_layers: int = Field(2, ge=1, description="Linear layers of the `mlp` connector. Paper: 2, GELU between.")
    language: str = Field(description="Language model: a key of parts.LANGUAGES.")
    vision_layer: int = Field(
        -2, le=-1, description="Hidden state the connector reads, counted from the end. LLaVA-1.5: -2."
    )
    image_mode: ImageMode = Field(
        "square",
        description="square: the encoder's own processor. pad: first pasted on a square of the mean colour (LLaVA-1.5 sft).",
    )

    @field_validator("vision")
    @classmethod
    def _known_vision(cls, value: str) -> str:
        return _key("vision encoder", value, VISIONS)

    @field_validator("connector")
    @classmethod
    def _known_connector(cls, value: str) -> str:
        return _key("connector", value, CONNECTORS)

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        return _key("language model", value, LANGUAGES)


class MixEntry(Frozen):
    """One source of a stage's mix."""

    source: str = Field(
        description="A name in data_manifests/, or a path to a manifest (relative paths: from the working directory)."
    )
    share: float = Field(
        1.0, gt=0, description="Part of the source per epoch: 0.5 a seeded half, 2.0 everything twice."
    )
    cap: int | None = Field(None, ge=1, description="At most so many records (after the share). null: no limit.")


class Part(Frozen):
    """One of the three parts of the model in one stage: vision, connector, language."""

    trainable_from_layer: int | None = Field(
        None,
        ge=0,
        description="First trained block, counted from 0; 0: the whole part. null: frozen. A connector has no blocks: 0 or null.",
    )
    lr: float | None = Field(None, gt=0, description="Peak learning rate of this part. null: the stage's `lr`.")
    weight_decay: float | None = Field(
        None, ge=0, description="Weight decay of this part's matrices. null: the stage's `weight_decay`."
    )


class Training(Frozen):
    """One training stage: its data, its order, its optimizer."""

    mix: tuple[MixEntry, ...] = Field(min_length=1, description="The sources of this stage.")
    prompt: str | None = Field(
        None, description="Prompt format: a key of data/prompt.py's table. null: the language model's own."
    )
    max_length: int = Field(
        2048, ge=16, description="Tokens of one sequence, image tokens included. Paper: 2048 or 3072."
    )
    global_batch: int = Field(
        ge=1, description="Records of one optimizer step over all GPUs. Paper: 256 pretrain, 128 sft."
    )
    epochs: int = Field(1, ge=1, description="Passes over the mix. Paper: 1.")
    group_by_modality: bool = Field(
        False, description="One modality (with or without image) per step where possible. Paper sft: true."
    )
    lr: float = Field(gt=0, description="Peak learning rate. Paper: 1e-3 pretrain, 2e-5 sft.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="After the warm-up. Paper: cosine to zero."
    )
    warmup_fraction: float = Field(
        0.03, ge=0, lt=1, description="Part of the steps with a rising learning rate. Paper: 0.03."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW, matrices only. Paper: 0.")
    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="AdamW moments. Hugging Face default, which the paper's scripts leave."
    )
    max_grad_norm: float | None = Field(1.0, gt=0, description="Clip the global gradient norm. null: off.")
    precision: Literal["fp32", "bf16"] = Field(
        "bf16", description="Arithmetic of forward and backward; weights and optimizer stay fp32."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass (non-reentrant)."
    )
    save_every: int = Field(
        500, ge=1, description="Optimizer steps between two checkpoints from which a killed run goes on."
    )
    data_workers: int = Field(
        2, ge=0, description="Processes that read and decode, per GPU. 0: in the training process."
    )
    max_lost_fraction: float = Field(
        0.05, ge=0, le=1, description="Stop if more than this part of a source's records is dropped."
    )
    vision: Part = Part()
    connector: Part = Part(trainable_from_layer=0)
    language: Part = Part()

    def part(self, name: str) -> Part:
        """Give one of the three parts by its name."""
        return {"vision": self.vision, "connector": self.connector, "language": self.language}[name]

    @model_validator(mode="after")
    def _something_is_trained(self) -> Training:
        if all(self.part(name).trainable_from_layer is None for name in PART_NAMES):
            raise ValueError("no part is trained: set trainable_from_layer of vision, connector or language")
        for name in PART_NAMES:
            part = self.part(name)
            if part.trainable_from_layer is None and (part.lr is not None or part.weight_decay is not None):
                raise ValueError(
                    f"{name} is frozen (trainable_from_layer: null), so its lr and weight_decay have no effect: remove them"
                )
        if self.connector.trainable_from_layer not in (None, 0):
            raise ValueError("a connector has no blocks: trainable_from_layer is 0 (trained) or null (frozen)")
        return self


class Evaluate(Frozen):
    """Which benchmarks score the trained model, and how it answers."""

    benchmarks: tuple[str, ...] = Field(
        (), description="Names in data_manifests/ (kind: benchmark), or paths to manifests."
    )
    blind: bool = Field(
        True, description="Also score with every image blanked: what can be guessed from the text alone."
    )
    batch_size: int = Field(16, ge=1, description="Questions answered together. Answers do not depend on it in fp32.")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="Arithmetic of the forward pass.")


class Launch(Frozen):
    """How the GPU half is started."""

    launcher: Literal["plain", "torchrun", "deepspeed"] = Field(
        "plain", description="plain: one process. Others: one per GPU."
    )
    processes: int = Field(1, ge=1, description="Processes on this machine (GPUs, or gloo ranks on a CPU).")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda if torch sees one, else cpu.")
    zero_stage: Literal[1, 2, 3] | None = Field(
        None, description="DeepSpeed ZeRO stage; null: plain PyTorch. Needs launcher: deepspeed."
    )
    timeout_s: int | None = Field(
        None, ge=1, description="End the whole process tree after so many seconds. null: no limit."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Launch:
        if self.launcher == "plain" and self.processes != 1:
            raise ValueError(
                "launcher 'plain' starts one process: set processes to 1, or launcher to torchrun or deepspeed"
            )
        if self.zero_stage is not None and self.launcher != "deepspeed":
            raise ValueError("zero_stage needs launcher: deepspeed")
        return self


class Recipe(Frozen):
    """One run: model, two training stages, evaluation, launch."""

    name: str = Field(description="What the run is called in tables and pages.")
    description: str = Field("", description="One line.")
    seed: int = Field(42, ge=0, description="Seed of order, initial connector and training. Hugging Face default: 42.")
    records_per_shard: int = Field(1000, ge=1, description="Records of one WebDataset tar.")
    model: Model
    pretrain: Training
    sft: Training
    evaluate: Evaluate = Evaluate()
    launch: Launch = Launch()

    def training(self, stage: str) -> Training:
        """Give the training stage of that name."""
        return {"pretrain": self.pretrain, "sft": self.sft}[stage]


def load(name: str, overrides: dict[str, Any] | None = None) -> Recipe:
    """Load a recipe by its name or by a path to a YAML file, and set dotted keys on it.

    Raises BadInput on an unknown recipe, an unknown key (with the nearest known one) or a value that does not fit.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise (
            unknown("recipe", name, known_recipes())
            if path.parent == RECIPES
            else BadInput(f"recipe {name!r}: no such file")
        )
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}: expected keys and values, found {type(data).__name__}")
    for key, value in (overrides or {}).items():
        _set(data, key, value)
    return Recipe.parse(data, f"recipe {name!r}")


def known_recipes() -> list[str]:
    """List the names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` in nested dicts and lists. Raises BadInput for a key that the recipe does not have."""
    *parents, last = dotted.split(".")
    known: list[str] = all_fields()
    if not known_keys(Recipe, tuple(_number(p) for p in parents)) or not _exists(dotted):
        raise BadInput(
            f"override {dotted!r}: the recipe has no such field{nearest(dotted, known)}. All fields: tinyllava_core/recipe.py"
        )
    node: Any = data
    for part in parents:
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise BadInput(
                    f"override {dotted!r}: {part!r} is not one of the list's {len(node)} places (counted from 0)"
                )
            node = node[int(part)]
        else:
            node = node.setdefault(part, {})
    if isinstance(node, list):
        raise BadInput(f"override {dotted!r}: set the whole list, or one field of one of its places")
    node[last] = value


def _exists(dotted: str) -> bool:
    *parents, last = dotted.split(".")
    return last in known_keys(Recipe, tuple(_number(p) for p in parents))


def _number(part: str) -> str | int:
    return int(part) if part.isdigit() else part


def all_fields() -> list[str]:
    """List every dotted field of a recipe."""
    found: list[str] = []

    def walk(loc: tuple[str, ...]) -> None:
        for key in known_keys(Recipe, loc):
            found.append(".".join((*loc, key)))
            walk((*loc, key))

    walk(())
    return found


def _key(kind: str, value: str, table: dict[str, Any]) -> str:
    if value not in table:
        raise ValueError(str(unknown(kind, value, table)))
    return value
