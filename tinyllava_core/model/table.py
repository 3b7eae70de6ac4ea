"""`python -m tinyllava_core.model.table`: the tables of parts with their numbers of parameters, counted on the meta device.

With `vision=KEY` or `language=KEY` it counts these alone and prints JSON, for the half that has no torch (estimate/sizes.py). No
weights are read or made, and nothing is fetched.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn

from tinyllava_core.errors import BadInput
from tinyllava_core.model.assemble import skeleton
from tinyllava_core.model.loss import last_mlp
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.model.tinyllava import blocks as blocks_of
from tinyllava_core.model.trainable import BEHIND, BLOCK
from tinyllava_core.parts import CONNECTORS, LANGUAGES, VISIONS, language_row
from tinyllava_core.parts.described import Kind, described
from tinyllava_core.settings.model import Model
from tinyllava_core.show import show

KINDS: dict[Kind, Mapping[str, object]] = {"vision": VISIONS, "language": LANGUAGES}
_SOME_VISION, _SOME_LANGUAGE = "siglip-so400m-patch14-384", "tinyllama-1.1b"


def main(arguments: Sequence[str]) -> int:
    """Print the tables, or the sizes of the parts that are named."""
    if arguments:
        words = [word.partition("=") for word in arguments]
        print(json.dumps(count_all([(cast(Kind, kind), name) for kind, _, name in words])))
        return 0
    for kind, table in KINDS.items():
        sizes = zip(table, count_all([(kind, name) for name in table]), strict=True)
        lines = [(name, *_told(size)) for name, size in sizes]
        show((kind, "parameters", "one block", "held against its config.json"), lines)
        print()
    connectors = [(kind, *connector_sizes(kind)) for kind in CONNECTORS]
    show(("connector", f"parameters, {_SOME_VISION} to {_SOME_LANGUAGE}", "tokens"), connectors)
    return 0


def count_all(parts: Sequence[tuple[Kind, str]]) -> list[dict[str, Any]]:
    """Count parts, those of one architecture once -> for each what `count` gives, or its `fault`."""
    seen: dict[str, dict[str, Any]] = {}
    found = []
    for kind, name in parts:
        try:
            key = repr((kind, described(kind, name), language_row(name).num_tokens if kind == "language" else None))
        except BadInput as fault:  # a row that the asker added by hand: this process does not have it
            found.append({"fault": str(fault)})
            continue
        if key not in seen:
            seen[key] = _counted(kind, name)
        found.append(seen[key])
    return found


def _counted(kind: Kind, name: str) -> dict[str, Any]:
    try:
        return count(kind, name)
    except BadInput as fault:
        return {"fault": str(fault)}
    except Exception as fault:  # a folder of anybody's: transformers stumbles in many ways
        said = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
        return {"fault": f"{kind} {name!r} cannot be counted: {said}"}


def count(kind: Kind, name: str) -> dict[str, Any]:
    """Count one part -> the fields of estimate/sizes.py's Size. Raises BadInput where its blocks cannot be told apart."""
    model = skeleton(Model(**{"vision": "toy-vit", "language": "toy-llama", kind: name}))
    mine = {key: p.numel() for key, p in model.named_parameters() if part_of(key) == kind}
    blocks = _by_block(mine)
    config = model.config.text_config if kind == "language" else model.config.vision_config
    if sorted(blocks) != list(range(config.num_hidden_layers)):
        raise BadInput(
            f"{kind} {name!r}: its {config.num_hidden_layers} blocks cannot be told apart by the names of its tensors"
        )
    heads = getattr(config, "num_attention_heads", 1)
    mlp = last_mlp(blocks_of(model.model.language_model)[-1]) if kind == "language" else None
    return {
        "total": sum(mine.values()),
        "blocks": [blocks[number] for number in sorted(blocks)],
        "linear": _linear_sides(model, kind),
        "last_mlp": sum(p.numel() for p in mlp.parameters()) if mlp is not None else 0,
        "behind": sum(size for key, size in mine.items() if kind == "vision" and any(piece in key for piece in BEHIND)),
        "attention_width": heads * (getattr(config, "head_dim", None) or config.hidden_size // heads),
        "vocabulary": config.vocab_size if kind == "language" else 0,
        "checked": all(own is not None for _, own in described(kind, name)),
    }


def connector_sizes(kind: str) -> tuple[int | None, int | None]:
    """Count a connector between two of the paper's parts; None where it does not fit between them."""
    try:
        shape = Model(vision=_SOME_VISION, connector=kind, language=_SOME_LANGUAGE).shape
    except ValueError:
        return None, None
    return shape.num_parameters, shape.num_tokens


def _told(size: dict[str, Any]) -> tuple[Any, Any, str]:
    if "fault" in size:
        return None, None, size["fault"]
    return size["total"], size["blocks"][0], "yes" if size["checked"] else "no: not on this disk"


def _by_block(numbers: Mapping[str, int]) -> dict[int, int]:
    """Sum numbers up by the block that their names say; those outside the blocks are left out."""
    found: dict[int, int] = {}
    for name, number in numbers.items():
        if block := BLOCK.search(f"{name}."):
            found[int(block.group(1))] = found.get(int(block.group(1)), 0) + number
    return found


def _linear_sides(model: TinyLlava, part: str) -> list[int]:
    """Add up inputs and outputs of each block's linear layers: what an adapter of rank 1 has."""
    sides = {
        name: layer.in_features + layer.out_features
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and part_of(f"{name}.") == part
    }
    return list(_by_block(sides).values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
