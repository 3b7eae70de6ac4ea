"""Attention of packed records: causal inside each record, blind to all others. One function for every language model.

It is registered with transformers, whose models call it by name; nothing of theirs is replaced. Work and memory grow with the
squares of the records' lengths, not with the square of the pack's.

Shapes: T tokens of a pack, H query heads, G key-value heads, E width of a head, t tokens of one record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "records"


@dataclass(frozen=True, slots=True)
class Records:
    """Where the records of a pack lie, one behind the other."""

    lengths: tuple[int, ...]  # tokens of each
    starts: Tensor  # int32 [records + 1], on the pack's device: the same as running sums
    longest: int

    @classmethod
    def of(cls, record_T: Tensor) -> Records:
        """Read them off the record number of each token."""
        lengths = torch.unique_consecutive(record_T, return_counts=True)[1]
        starts = pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
        plain = lengths.tolist()
        return cls(tuple(plain), starts, max(plain))


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

    On a GPU in half precision one kernel takes all records (torch.nn.attention.varlen). Elsewhere, and for a language model
    that caps its attention scores (Gemma-2), which that kernel cannot, the records are taken one by one.
    """
    if records is None:  # StableLM's layers hand on positions alone; read once a layer, a wait for the GPU each
        assert position_ids is not None, "packed attention needs to know the records"
        records = Records.of((position_ids[0] == 0).cumsum(0))
    window = sliding_window if sliding_window is not None and sliding_window < records.longest else None
    if query_1HTE.is_cuda and query_1HTE.dtype in (torch.bfloat16, torch.float16) and softcap is None and not dropout:
        return _varlen(query_1HTE, key_1GTE, value_1GTE, records, scaling, window), None
    parts = zip(*(tensor.split(records.lengths, dim=2) for tensor in (query_1HTE, key_1GTE, value_1GTE)), strict=True)
    one = _capped if softcap is not None else _plain
    outs = [one(q, k, v, dropout, scaling, window, softcap) for q, k, v in parts]
    return torch.cat(outs, dim=2).transpose(1, 2), None


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    records: Records,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    out = varlen_attn(
        query,
        key,
        value,
        records.starts,
        records.starts,
        records.longest,
        records.longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, Tensor)
    return out[None]


def _plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
    _: float | None,
) -> Tensor:
    mask = None if window is None else _band(query.shape[2], window, query.device)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _capped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    assert softcap is not None
    key, value = (tensor.repeat_interleave(query.shape[1] // tensor.shape[1], dim=1) for tensor in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores_1Htt = torch.tanh(query @ key.transpose(2, 3) * scale / softcap) * softcap
    allowed_tt = _band(query.shape[2], window or query.shape[2], query.device)
    shares_1Htt = scores_1Htt.masked_fill(~allowed_tt, float("-inf")).float().softmax(-1).to(query.dtype)
    return nn.functional.dropout(shares_1Htt, dropout) @ value


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """Say which token may look at which: itself and the `window` - 1 before it -> [t, t] bool."""
    place = torch.arange(length, device=device)
    back = place[:, None] - place[None, :]
    return (back >= 0) & (back < window)


AttentionInterface.register(NAME, records_attention)
