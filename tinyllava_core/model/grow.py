"""Make room in a model for what a stage adds to it: tokens that mark the places of tiles, the newline of anyres, pictures of any shape.

It trains nothing.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import torch
from torch import Tensor, nn
from transformers import SiglipVisionModel

from tinyllava_core.model.connector import Newline
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.model.vision.native import as_naflex
from tinyllava_core.settings.model import Model


def make_room(model: TinyLlava, parts: Model, num_tokens: int, seed: int) -> None:
    """Add what a stage's way to take pictures needs and the model does not have yet; what is there stays as it is.

    `num_tokens`: the tokenizer's.
    """
    generator, scheme = torch.Generator().manual_seed(seed), parts.scheme
    if scheme.mode == "native":
        _take_any_shape(model)
    if model.shape.num_patches != parts.shape.num_patches:  # of a picture: the connector's weights do not depend on it
        model.shape = replace(model.shape, num_patches=parts.shape.num_patches, grid=parts.shape.grid)
        model.config.connector, model.config.image_seq_length = asdict(model.shape), model.shape.num_tokens
    if scheme.mode == "anyres" and not model.config.newline:
        model.config.newline = True
        model.model.image_newline = Newline(model.shape.language_width)
    embedding, head = model.get_input_embeddings(), model.lm_head
    more = num_tokens - embedding.weight.shape[0] if scheme.marks else 0
    if more <= 0:
        return
    embedding.weight = _longer(embedding.weight, more, generator)
    embedding.num_embeddings += more
    if model.config.tie_word_embeddings:
        head.weight = embedding.weight
    else:
        head.weight = _longer(head.weight, more, generator)
    if head.bias is not None:
        head.bias = nn.Parameter(torch.cat([head.bias.detach(), head.bias.new_zeros(more)]))
    head.out_features += more
    model.config.text_config.vocab_size += more
    model.model.language_model.config.vocab_size = model.config.text_config.vocab_size


def _take_any_shape(model: TinyLlava) -> None:
    tower = model.model.vision_tower
    if isinstance(tower, SiglipVisionModel):
        model.model.vision_tower = tower = as_naflex(tower)
        model.config.vision_config = tower.config


@torch.no_grad()
def _longer(table: Tensor, more: int, generator: torch.Generator) -> nn.Parameter:
    """Add rows that are like the others: of their mean and spread, channel by channel. No two are the same, even if none is trained."""
    drawn = torch.randn(more, table.shape[1], generator=generator).to(table)
    rows = table.mean(0) + drawn * table.std(0)
    return nn.Parameter(torch.cat([table.detach(), rows]))
