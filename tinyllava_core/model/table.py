"""`python -m tinyllava_core.model.table`: the tables of parts with their numbers of parameters, counted on the meta device.

`--write` keeps them in parts/counts.json for the half that has no torch. No weights are read or made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from torch import nn

from tinyllava_core.estimate.part_counts import COUNTS
from tinyllava_core.model.assemble import skeleton
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.model.trainable import BEHIND, BLOCK
from tinyllava_core.parts import CONNECTORS, LANGUAGES, VISIONS
from tinyllava_core.parts.architecture import LANGUAGE_CONFIGS, VISION_CONFIGS
from tinyllava_core.settings.model import Model
from tinyllava_core.show import show

_SOME_VISION, _SOME_LANGUAGE = "siglip-so400m-patch14-384", "tinyllama-1.1b"


def main(arguments: Sequence[str]) -> int:
    """Print the tables, or keep them."""
    parser = argparse.ArgumentParser(prog="python -m tinyllava_core.model.table", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write parts/counts.json")
    given = parser.parse_args(arguments)
    counts = count()
    if given.write:
        COUNTS.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        return 0
    for kind, rows in counts.items():
        show((kind, "parameters", "one block"), [(name, row["total"], row["block"]) for name, row in rows.items()])
        print()
    connectors = [(kind, *connector_sizes(kind)) for kind in CONNECTORS]
    show(("connector", f"parameters, {_SOME_VISION} to {_SOME_LANGUAGE}", "tokens"), connectors)
    return 0


def count() -> dict[str, dict[str, dict[str, int]]]:
    """Count every row: all parameters, those of one block, those that no hidden state depends on."""
    found: dict[str, dict[str, dict[str, int]]] = {"vision": {}, "language": {}}
    seen: dict[str, dict[str, int]] = {}  # rows of one architecture are counted once
    for name, vision in VISIONS.items():
        key = repr((VISION_CONFIGS.get(name, name), vision.mixture))
        found["vision"][name] = seen[key] = seen.get(key) or _part(_model(vision=name), "vision")
    for name, language in LANGUAGES.items():
        key = repr((LANGUAGE_CONFIGS.get(name, name), language.num_tokens))
        found["language"][name] = seen[key] = seen.get(key) or _part(_model(language=name), "language")
    return found


def connector_sizes(kind: str) -> tuple[int | None, int | None]:
    """Count a connector between two of the paper's parts; None where it does not fit between them."""
    try:
        shape = Model(vision=_SOME_VISION, connector=kind, language=_SOME_LANGUAGE).shape
    except ValueError:
        return None, None
    return shape.num_parameters, shape.num_tokens


def _model(vision: str = "toy-vit", language: str = "toy-llama") -> TinyLlava:
    return skeleton(Model(vision=vision, language=language))


def _part(model: TinyLlava, part: str) -> dict[str, int]:
    mine = {name: p.numel() for name, p in model.named_parameters() if part_of(name) == part}
    blocks: dict[int, int] = {}
    for name, size in mine.items():
        if found := BLOCK.search(name):
            number = int(found.group(1))
            blocks[number] = blocks.get(number, 0) + size
    (block,) = set(blocks.values())  # every block of a model is of one size
    behind = sum(size for name, size in mine.items() if part == "vision" and any(piece in name for piece in BEHIND))
    return {"total": sum(mine.values()), "block": block, "behind": behind, "linear": _linear_sides(model, part)}


def _linear_sides(model: TinyLlava, part: str) -> int:
    """Add up inputs and outputs of one block's linear layers: what an adapter of rank 1 has."""
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    first = [layer for name, layer in linear.items() if part_of(f"{name}.") == part and _is_in_block(name, 0)]
    return sum(layer.in_features + layer.out_features for layer in first)


def _is_in_block(name: str, number: int) -> bool:
    found = BLOCK.search(f"{name}.")
    return found is not None and int(found.group(1)) == number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
