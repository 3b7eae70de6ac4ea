"""Attention of packed records: causal inside each record, blind to all others. One function for every language model.

It is registered with transformers, whose models call it by name; nothing of theirs is replaced. Work and memory grow with the
squares of the records' lengths, not with the square of the pack's. Which kernel does it: model/kernels.py.

Shapes: T tokens of a pack, H query heads, G key-value heads, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface

from tinyllava_core.model import kernels
from tinyllava_core.model.records import Records

NAME = "records"
_OF_POSITIONS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # tensor of positions -> its Records


@torch.compiler.disable  # its shapes are those of records: compiled, every other number of them would be another program
def records_attention(
    module: nn.Module,
    query_1HTE: Tensor,
    key_1GTE: Tensor,
    value_1GTE: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    records: Records | None = None,
    position_ids: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each record -> [1, T, H, E], as transformers' attention functions do.

    Rotary embeddings are float32, so under autocast query and key come in that type; they are multiplied in the value's.
    """
    if records is None:
        records = recall(position_ids)
    window = sliding_window if sliding_window is not None and sliding_window < records.longest else None
    ask = kernels.Ask(scaling=scaling, window=window, softcap=softcap, dropout=dropout)
    kernel = kernels.choose(value_1GTE.device.type, value_1GTE.dtype, ask)
    query_THE, key_TGE, value_TGE = (
        tensor[0].transpose(0, 1).to(value_1GTE.dtype) for tensor in (query_1HTE, key_1GTE, value_1GTE)
    )
    return kernel.run(query_THE, key_TGE, value_TGE, records, ask)[None], None


def remember(position_ids: Tensor, records: Records) -> None:
    """Know these records again by their positions: StableLM's layers hand on nothing else."""
    _OF_POSITIONS[position_ids] = records


def recall(position_ids: Tensor | None) -> Records:
    """Give the records of remembered positions; of others, read them off, which waits for the GPU."""
    assert position_ids is not None, "packed attention needs to know the records"
    found: Records | None = _OF_POSITIONS.get(position_ids)
    return Records.of((position_ids[0] == 0).cumsum(0)) if found is None else found


def name_of(text_config: Any, device: torch.device, precision: str) -> str:
    """Say which kernel a language model's packed attention will be: varlen, flash-attn, flex or loop."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    ask = kernels.Ask(
        scaling=None,
        window=getattr(text_config, "sliding_window", None),
        softcap=getattr(text_config, "attn_logit_softcapping", None),
        dropout=getattr(text_config, "attention_dropout", 0.0),
    )
    return kernels.choose(device.type, dtype, ask).name


AttentionInterface.register(NAME, records_attention)
