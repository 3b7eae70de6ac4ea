"""`python -m tinyllava_core.model.foreign.importer CHECKPOINT --out FOLDER`: turn another program's checkpoint into one of this package.

What a config.json does not say (the prompt it was trained in) may be told; what contradicts itself is refused. Nothing is trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LlavaConfig
from transformers.initialization import no_init_weights

from tinyllava_core.checkpoints import vision_of
from tinyllava_core.errors import BadInput, unforeseen
from tinyllava_core.model import assemble, checkpoint
from tinyllava_core.model.foreign import config as foreign_config
from tinyllava_core.model.foreign import gguf
from tinyllava_core.model.foreign import layout as foreign
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.model.trainable import BEHIND
from tinyllava_core.parts import VISIONS, Shape, Vision
from tinyllava_core.parts.prompts import prompt_row
from tinyllava_core.room import disk_full, is_full
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer

_SCALED = ("gemma", "gemma2")  # families whose inputs older transformers multiplied by sqrt(width), image tokens too


def main(arguments: Sequence[str]) -> int:
    """Import. Exit code 2 and one line on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(
        prog="tinyllava import", description="make another program's checkpoint one of this package"
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--vision", metavar="KEY", help="row of the vision encoder, if its name in config.json is not one's"
    )
    parser.add_argument(
        "--vision-weights", type=Path, metavar="FOLDER", help="encoder's weights, if they are not in the checkpoint"
    )
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="fast tokenizer, if the checkpoint has none")
    parser.add_argument(
        "--prompt", help="format it was trained in (default: what an export of this package says, else vicuna)"
    )
    given = parser.parse_args(arguments)
    try:
        if given.checkpoint.suffix == gguf.SUFFIX:
            kind = gguf.bring_language(given.checkpoint, given.out)
            print(f"{given.out}: a language model ({kind}), for model.language={given.out}")
            return 0
        if given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir())):
            raise BadInput(f"{given.out}: is there already; name another folder with --out")
        if given.prompt is not None:
            prompt_row(given.prompt)
        bring_in(given.checkpoint, given.out, given.vision, given.vision_weights, given.tokenizer, given.prompt)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # a stranger's folder may raise anything in what reads it
        shutil.rmtree(given.out.with_name(f".{given.out.name}.partial"), ignore_errors=True)
        what = f"{given.checkpoint}: cannot be read as a checkpoint: {unforeseen(error)}; is it whole?"
        print(f"error: {disk_full(str(given.out), given.out) if is_full(error) else what}", file=sys.stderr)
        return 2
    print(f"{given.out}: a checkpoint of this package")
    return 0


def bring_in(
    folder: Path,
    out: Path,
    vision: str | None = None,
    vision_weights: Path | None = None,
    tokenizer_from: Path | None = None,
    prompt: str | None = None,
) -> checkpoint.Card:
    """Import a checkpoint -> the card of the new one. Raises BadInput where the folder is not one, or does not fit together."""
    layout, config = foreign.layout_of(folder)
    tokenizer_from = tokenizer_from or folder
    tokenizer = load_tokenizer(tokenizer_from)
    raw, weights = foreign.split_connector(foreign.read_weights(folder, layout, config))
    if vision_weights is not None:
        weights |= {
            "model.vision_tower." + name.removeprefix("vision_tower.").removeprefix("vision_model."): tensor.float()
            for name, tensor in foreign.read_files(vision_weights).items()
            if "text_model" not in name and not name.startswith("logit_")
        }
    if vision is None and (exported := _exported(folder)):
        vision = vision_of(exported)
    key, row = foreign_config.vision_row(config, layout, vision, weights)
    row, vision_config = foreign_config.vision_config(config, key, row, weights)
    if not any(name.startswith("model.vision_tower.") for name in weights):
        pretrained = assemble.load_vision(key)
        weights |= {f"model.vision_tower.{name}": tensor for name, tensor in pretrained.state_dict().items()}
        vision_config = pretrained.config
    # TinyLLaVABench cut SigLIP's last block off and read the last state: the same as the last but one of the whole
    num_cut = VISIONS[key].num_layers - row.num_layers if layout == "llava" else 0
    text_config = foreign_config.text_config(config)
    foreign_config.check_sizes(config, text_config, VISIONS[key], weights, folder)
    shape = foreign_config.shape(config, layout, row, text_config.hidden_size)
    if raw:
        names = foreign.connector_names(shape.kind, raw)
        weights |= {f"model.multi_modal_projector.{name}": tensor for name, tensor in names.items()}
    _rescale(weights, text_config, layout, shape, config.get("transformers_version"))
    _make_room(weights, text_config, tokenizer)
    model = _build(_llava_config(config, row, vision_config, text_config, shape, tokenizer, num_cut), weights, folder)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_id, eos_token_id=list(tokenizer.eos_ids), pad_token_id=tokenizer.pad_id
    )
    card = checkpoint.Card(
        schema=checkpoint.SCHEMA,
        vision=row,
        language=foreign_config.language_name(config, layout),
        connector=shape.kind,
        tokens_per_image=shape.num_tokens,
        prompt=prompt or _exported(folder).get("prompt", "vicuna"),  # vicuna: as all of the other programs
        image_mode=foreign_config.image_mode(config, folder),
        pixels=_exported(folder).get("pixels", "pil"),  # pil: as the published code makes them
    )
    checkpoint.write(model, card, tokenizer_from, out)
    return card


def _exported(folder: Path) -> dict[str, Any]:
    """Read what the card of this package's own export says; nothing for other programs' folders."""
    path = folder / foreign.EXPORT_CARD
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _rescale(weights: foreign.Weights, text_config: Any, layout: str, shape: Shape, written_by: str | None) -> None:
    """Gemma: the code that wrote these multiplied image tokens by sqrt(width), transformers 5 does not. Its last layer gets it."""
    by_transformers_5 = written_by is not None and int(written_by.split(".")[0]) >= 5
    if text_config.model_type not in _SCALED or layout == "llava-hf" or by_transformers_5:
        return
    last = {"linear": ["linear_1"], "mlp": [f"linear_{shape.layers}"]}.get(shape.kind)
    last = [f"{one}.linear_{shape.layers}" for one in ("first", "second")] if shape.kind == "mixture-mlp" else last
    last = {"resampler": ["norm"], "qformer": ["linear"]}.get(shape.kind, last)
    if last is None:
        raise BadInput(
            f"connector {shape.kind!r} with {text_config.model_type}: nothing in it can take the factor sqrt(width)"
        )
    for name in (f"model.multi_modal_projector.{module}.{kind}" for module in last for kind in ("weight", "bias")):
        weights[name] = weights[name] * text_config.hidden_size**0.5


def _make_room(weights: foreign.Weights, text_config: Any, tokenizer: Tokenizer) -> None:
    """Add the rows that the tokenizer's last tokens (<image>) need: their embeddings are the mean, and are never read."""
    more = tokenizer.size - text_config.vocab_size
    if more <= 0:
        return
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"):
        if name in weights:
            table = weights[name]
            weights[name] = torch.cat([table, table.mean(0, keepdim=True).expand(more, *table.shape[1:])])
    text_config.vocab_size += more


def _llava_config(
    config: dict[str, Any],
    row: Vision,
    vision_config: Any,
    text_config: Any,
    shape: Shape,
    tokenizer: Tokenizer,
    num_cut: int,
) -> LlavaConfig:
    layer = config.get("vision_feature_layer", config.get("mm_vision_select_layer", -2)) + num_cut
    found = LlavaConfig(
        vision_config=vision_config,
        text_config=text_config,
        image_token_index=tokenizer.image_id,
        image_seq_length=shape.num_tokens,
        vision_feature_layer=layer,
        vision_feature_select_strategy="default" if row.num_skipped else "full",
        tie_word_embeddings=text_config.tie_word_embeddings,
    )
    found.connector, found.num_skipped = dataclasses.asdict(shape), row.num_skipped
    found.head_bias = assemble.head_has_bias(text_config)
    return found


def _build(config: LlavaConfig, weights: foreign.Weights, folder: Path) -> TinyLlava:
    """Make the model and fill it: every tensor once, none left over. What no hidden state depends on may be missing."""
    with no_init_weights():
        model = TinyLlava(config)
    wanted = model.state_dict()
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    missing = {name for name in wanted if name not in weights} - tied
    spare = {
        name for name in missing if name.startswith("model.vision_tower.") and any(piece in name for piece in BEHIND)
    }
    extra = {name for name in weights if name not in wanted}
    extra = {
        name
        for name in extra
        if not (name.startswith("model.vision_tower.") and any(piece in name for piece in BEHIND))
    }
    shapes = [name for name in wanted if name in weights and weights[name].shape != wanted[name].shape]
    if missing - spare or extra or shapes:
        raise BadInput(
            f"{folder}: {len(missing - spare)} weights missing {sorted(missing - spare)[:2]}, {len(extra)} unknown "
            f"{sorted(extra)[:2]}, {len(shapes)} of another shape {shapes[:2]}"
        )
    filled: dict[str, Tensor] = {name: weights[name] for name in wanted if name in weights}
    filled |= {
        name: torch.ones_like(wanted[name]) if "norm.weight" in name else torch.zeros_like(wanted[name])
        for name in spare
    }
    model.load_state_dict(filled, strict=False)
    model.tie_weights()
    assemble.without_head(model.model.vision_tower)
    return model.eval()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
