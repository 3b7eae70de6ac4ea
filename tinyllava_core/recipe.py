"""A recipe is data: model, training stages, evaluation, launch. Its sections are in settings/; nothing here trains.

`load("base", {"sft.language.lr": 1e-5})` gives one checked, frozen Recipe. The paper's recipes are `recipes/*.yaml`; one
that says `extends: base` is base with a few keys set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from tinyllava_core.errors import BadInput, nearest, unknown
from tinyllava_core.frozen import Frozen, OneLine, known_keys, parse_yaml, read_yaml
from tinyllava_core.settings.data import Data
from tinyllava_core.settings.evaluate import Evaluate
from tinyllava_core.settings.export import ExportFormat
from tinyllava_core.settings.inspect import Inspect
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.mix import Contamination as Contamination  # flows import the recipe, not its sections
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.shard import Shard
from tinyllava_core.settings.tiling import Tiling
from tinyllava_core.settings.trained import check_something_to_train
from tinyllava_core.settings.training import Training
from tinyllava_core.settings.watch import Watch

OWN_KEYS = {"data.local"}  # fields whose keys are the user's own words
RECIPES = Path(__file__).parent / "recipes"
StageName = Literal["pretrain", "second_pretrain", "sft"]
STAGES: tuple[StageName, ...] = get_args(StageName)  # in the order in which they train


class Recipe(Frozen):
    """One run: model, training stages, evaluation, own copies of data, launch. It begins and ends anywhere."""

    name: OneLine = Field(max_length=200, description="What the run is called in tables and pages.")
    description: str = Field("", description="One line.")
    seed: int = Field(42, ge=0, description="Seed of order, initial connector and training. Hugging Face default: 42.")
    inspect: Inspect = Inspect()
    model: Model
    start: str | None = Field(
        None,
        description="Checkpoint to start from, in place of the parts' published weights: a folder (of another program: "
        "`tinyllava import` makes it one), `latest`, a run's id or the first letters of an artifact in the workspace.",
    )
    pretrain: Training | None = Field(None, description="Align the connector on captions. null: no such stage.")
    second_pretrain: Training | None = Field(
        None, description="A stage between the two, on more and longer captions: the paper's share recipe. null: none."
    )
    sft: Training | None = Field(None, description="Visual instructions. null: no such stage.")
    evaluate: Evaluate = Evaluate()
    export: ExportFormat | None = Field(
        "hf-llava",
        description="Format of the exported checkpoint: one of transformers' own classes, none of which holds every model (a head "
        "with a bias, as Phi-2's; another connector). hf-llava: Llava. hf-llava-next, hf-llava-onevision: anyres, without and "
        "with tiling.max_tiles. hf-idefics3: tiles, pixel-shuffle-linear, vision_layer final. "
        "hf-lfm2-vl: native, tiles or dynamic, two-layer pixel-shuffle or mlp, SigLIP, vision_layer final. "
        "vllm-llava: Llava as vLLM reads it, with Phi-2's bias. null: no export.",
    )
    shard: Shard = Shard()
    data: Data = Data()
    launch: Launch = Launch()
    watch: Watch = Watch()

    @model_validator(mode="after")
    def _every_number_is_one(self) -> Recipe:
        if odd := next(_not_finite(self.model_dump()), None):
            raise ValueError(f"{odd}: expected a finite number")
        return self

    @model_validator(mode="after")
    def _every_trained_part_has_something_to_train(self) -> Recipe:
        if not self.stages() and self.start is None:
            raise ValueError("nothing to do: no training stage, and no checkpoint to `start` from")
        for stage in self.stages():
            if self.training(stage).keep_features and (stage != "pretrain" or self.start is not None):
                raise ValueError(
                    f"{stage}.keep_features: only a pretrain without `start` has the encoder's published weights; set it there"
                )
            check_something_to_train(self.model, self.training(stage), stage)
            own = self.model_in(stage)
            _ = own.scheme  # a stage's own image_mode has to fit the parts too
            if own.shape.shrink != self.model.shape.shrink:
                raise ValueError(
                    f"{stage}: its pictures have {own.shape.num_patches} patches, of which connector {self.model.connector!r} takes "
                    f"{own.shape.shrink} x {own.shape.shrink} together, and {self.model.shape.shrink} x {self.model.shape.shrink} in "
                    "another stage; set model.connector_shrink"
                )
            lora = self.training(stage).language.lora
            if lora is not None and lora.quantize is not None and self.launch.zero_stage is not None:
                raise ValueError(
                    f"{stage}.language.lora.quantize: ZeRO cannot share packed weights out; set launch.zero_stage to null"
                )
        return self

    def stages(self) -> tuple[StageName, ...]:
        """Name the training stages of this recipe, in their order."""
        return tuple(stage for stage in STAGES if getattr(self, stage) is not None)

    def training(self, stage: str) -> Training:
        """Give the training stage of that name. Raises BadInput if the recipe has none."""
        found = {"pretrain": self.pretrain, "second_pretrain": self.second_pretrain, "sft": self.sft}.get(stage)
        if found is None:
            raise BadInput(f"recipe {self.name!r} has no stage {stage!r}; it has {', '.join(self.stages())}")
        return found

    def model_in(self, stage: str) -> Model:
        """Give the model as one training stage has it: the same parts, with the stage's own way to take pictures in."""
        mode = self.training(stage).image_mode or self.model.image_mode
        whole = {"tiling": Tiling()} if mode in ("square", "pad") else {}
        return self.model.model_copy(update={"image_mode": mode, **whole})

    def compared(self, stage: str) -> tuple[str, ...]:
        """Name the benchmarks whose pictures a stage's mix is compared with."""
        asked = self.training(stage).contamination
        if asked.action is None:
            return ()
        return self.evaluate.benchmarks if asked.against is None else asked.against

    def all_benchmarks(self) -> list[str]:
        """Name the benchmarks that score the model, and those that only a mix is compared with; each once."""
        compared = [name for stage in self.stages() for name in self.compared(stage)]
        return list(dict.fromkeys((*self.evaluate.benchmarks, *compared)))


def load(name: str, overrides: dict[str, Any] | None = None) -> Recipe:
    """Load a recipe by its name or by a path to a YAML file, and set dotted keys on it.

    Raises BadInput on an unknown recipe, an unknown key (with the nearest known one) or a value that does not fit.
    """
    data = _read(name, Path(), ())
    for key, value in (overrides or {}).items():
        _set(data, key, value)
    return Recipe.parse(data, f"recipe {name!r}")


def read_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` words, as --set takes them: dotted keys, YAML values. Raises BadInput."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadInput(f"--set {word!r}: expected key=value, as in sft.lr=1e-5")
        try:
            found[key] = parse_yaml(value)
        except ValueError:
            raise BadInput(f"--set {word}: the value is not YAML; expected a number, a word or a [list]") from None
    return found


def known_recipes() -> list[str]:
    """List the names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _not_finite(told: Any, place: str = "") -> Iterator[str]:
    """Name the places of numbers that are infinite or none."""
    if isinstance(told, float) and not math.isfinite(told):
        yield f"{place} = {told}"
    items = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, (list, tuple)) else ()
    for key, value in items:
        yield from _not_finite(value, f"{place}.{key}" if place else str(key))


def _read(name: str, beside: Path, asked: tuple[Path, ...]) -> dict[str, Any]:
    """Read a recipe's keys, laid over those of the recipe that it extends (a name, or a path from its own folder)."""
    path = beside / name if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    try:
        there = path.is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        there = False
    if not there:
        raise (
            unknown("recipe", name, known_recipes())
            if path.parent == RECIPES
            else BadInput(f"recipe {str(path)!r}: no such file")
        )
    chain = (*asked, path.resolve())
    if path.resolve() in asked:
        raise BadInput(f"recipes extend each other in a circle: {' -> '.join(step.stem for step in chain)}")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}: expected keys and values, found {type(data).__name__}")
    if "kind" in data:
        raise BadInput(
            f"{path}: a manifest (kind: {data['kind']}), expected a recipe, whose stages name it under `mix`; "
            f"`tinyllava tune CHECKPOINT {path}` trains on it"
        )
    parent = data.pop("extends", None)
    if parent is None:
        return data
    if not isinstance(parent, str):
        raise BadInput(f"{path}: extends = {parent!r}; expected the name of a recipe, or a path to one")
    return _laid_over(_read(parent, path.parent, chain), data)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay keys over keys, section by section; a list or a value replaces what was there."""
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = _laid_over(found[key], value) if both else value
    return found


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` in nested dicts and lists. Raises BadInput for a key that the recipe does not have."""
    *parents, last = dotted.split(".")
    known: list[str] = all_fields()
    if ".".join(parents) not in OWN_KEYS and not _exists(dotted):
        parent = ".".join(parents)
        inside = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent]
        told = f"Its fields: {', '.join(name for name in known if '.' not in name)}"
        if parent and inside:
            told = f"Fields of {parent}: {', '.join(inside)}"
        raise BadInput(f"override {dotted!r}: the recipe has no such field{nearest(dotted, known)}. {told}")
    node: Any = data
    for part in parents:
        if isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                raise BadInput(
                    f"override {dotted!r}: {part!r} is not one of the list's {len(node)} places (counted from 0)"
                )
            node = node[int(part)]
        else:
            if node.get(part) is None:  # absent, or off: the field that is set brings the section in
                node[part] = {}
            node = node[part]
    if isinstance(node, list):
        raise BadInput(f"override {dotted!r}: set the whole list, or one field of one of its places")
    node[last] = value


def _exists(dotted: str) -> bool:
    *parents, last = dotted.split(".")
    return last in known_keys(Recipe, tuple(_number(p) for p in parents))


def _number(part: str) -> str | int:
    return int(part) if part.isdecimal() else part


def all_fields() -> list[str]:
    """List every dotted field of a recipe."""
    found: list[str] = []

    def walk(loc: tuple[str, ...]) -> None:
        for key in known_keys(Recipe, loc):
            found.append(".".join((*loc, key)))
            walk((*loc, key))

    walk(())
    return found
