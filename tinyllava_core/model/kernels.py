"""The kernels that packed attention may be: one call for all records on a GPU, a loop over them elsewhere. They know no model.

Which one runs is decided by what is asked, what the installed libraries' functions take, and the device; never by a version.

Shapes: T tokens of a pack, H query heads, G key-value heads, E width of a head, t tokens of one record.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tinyllava_core.model.records import Records

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a layer asks of its attention besides the tensors."""

    scaling: float | None  # None: 1 / sqrt(E)
    window: int | None  # tokens that one may look back on, itself included
    softcap: float | None  # scores are bent to this size (Gemma 2)
    dropout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One way to do it."""

    name: str
    run: Callable[[Tensor, Tensor, Tensor, Records, Ask], Tensor]  # [T, H, E], [T, G, E], [T, G, E] -> [T, H, E]
    can: Callable[[Ask], bool]


def choose(device: str, dtype: torch.dtype, ask: Ask) -> Kernel:
    """Take the first kernel that can do what is asked; on a CPU, or in full precision, the loop."""
    if device != "cuda" or dtype not in HALF:
        return LOOP
    return next(kernel for kernel in (VARLEN, FLASH, FLEX, LOOP) if kernel.can(ask))


@cache
def taken_by(module: str, function: str) -> frozenset[str]:
    """Name the arguments of a library's function; none where it is not installed."""
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        return frozenset()
    return frozenset(inspect.signature(found).parameters)


_TORCH = ("torch.nn.attention.varlen", "varlen_attn")  # 2.10: causal alone; 2.11: window and scale; 2.12: grouped heads
_FLASH = ("flash_attn", "flash_attn_varlen_func")


def _varlen_can(ask: Ask) -> bool:
    taken = taken_by(*_TORCH)
    window = "window_size" in taken or ("is_causal" in taken and ask.window is None)
    return window and ask.softcap is None and not ask.dropout


def _varlen(query_THE: Tensor, key_TGE: Tensor, value_TGE: Tensor, records: Records, ask: Ask) -> Tensor:
    taken, more = taken_by(*_TORCH), dict[str, Any]()
    if "window_size" in taken:
        more["window_size"] = (-1 if ask.window is None else ask.window - 1, 0)
    else:
        more["is_causal"] = True
    if "scale" in taken:
        more["scale"] = ask.scaling
    elif ask.scaling is not None:
        query_THE = query_THE * (ask.scaling * query_THE.shape[-1] ** 0.5)
    if "enable_gqa" in taken:
        more["enable_gqa"] = query_THE.shape[1] != key_TGE.shape[1]
    else:
        key_TGE, value_TGE = _for_each_query_head(query_THE, key_TGE, value_TGE)
    run = getattr(importlib.import_module(_TORCH[0]), _TORCH[1])
    starts, longest = records.starts, records.longest
    out: Tensor = run(query_THE, key_TGE, value_TGE, starts, starts, longest, longest, **more)
    return out


def _flash_can(ask: Ask) -> bool:
    taken = taken_by(*_FLASH)
    return (
        bool(taken) and (ask.softcap is None or "softcap" in taken) and (ask.window is None or "window_size" in taken)
    )


def _flash(query_THE: Tensor, key_TGE: Tensor, value_TGE: Tensor, records: Records, ask: Ask) -> Tensor:
    more: dict[str, Any] = {} if ask.softcap is None else {"softcap": ask.softcap}
    if ask.window is not None:
        more["window_size"] = (ask.window - 1, 0)
    run = getattr(importlib.import_module(_FLASH[0]), _FLASH[1])
    starts, longest = records.starts, records.longest
    out: Tensor = run(
        query_THE,
        key_TGE,
        value_TGE,
        starts,
        starts,
        longest,
        longest,
        dropout_p=ask.dropout,
        softmax_scale=ask.scaling,
        causal=True,
        **more,
    )
    return out


def _flex_can(ask: Ask) -> bool:
    return bool(taken_by("torch.nn.attention.flex_attention", "flex_attention")) and not ask.dropout


def _flex(query_THE: Tensor, key_TGE: Tensor, value_TGE: Tensor, records: Records, ask: Ask) -> Tensor:
    """One masked attention over the whole pack, of which blocks without a pair of the same record are left out."""
    from torch.nn.attention.flex_attention import create_block_mask

    total, device = len(query_THE), query_THE.device
    numbers = torch.arange(len(records.lengths), device=device)
    record_T = numbers.repeat_interleave(records.starts.diff(), output_size=total)

    def sees(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = (record_T[q] == record_T[k]) & (q >= k)
        return seen if ask.window is None else seen & (q - k < ask.window)

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        return ask.softcap * torch.tanh(score / ask.softcap) if ask.softcap is not None else score

    out: Tensor = _flex_attention(device.type)(
        *(tensor.transpose(0, 1)[None] for tensor in (query_THE, key_TGE, value_TGE)),
        block_mask=create_block_mask(sees, None, None, total, total, device=device),
        score_mod=None if ask.softcap is None else capped,
        scale=ask.scaling,
        enable_gqa=query_THE.shape[1] != key_TGE.shape[1],
    )
    return out[0].transpose(0, 1)


@cache
def _flex_attention(device: str) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    run: Any = torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
    return run  # type: ignore[no-any-return]


def _loop(query_THE: Tensor, key_TGE: Tensor, value_TGE: Tensor, records: Records, ask: Ask) -> Tensor:
    """Record by record."""
    one: Callable[..., Tensor] = _plain if ask.softcap is None else _capped
    pieces = zip(*(tensor.split(records.lengths) for tensor in (query_THE, key_TGE, value_TGE)), strict=True)
    outs = [one(*(piece.transpose(0, 1)[None] for piece in three), ask)[0].transpose(0, 1) for three in pieces]
    return torch.cat(outs)  # token by token, as a CPU's attention leaves them and the next matrix takes them


def _plain(query_1HtE: Tensor, key_1GtE: Tensor, value_1GtE: Tensor, ask: Ask) -> Tensor:
    mask = None if ask.window is None else _band(query_1HtE.shape[2], ask.window, query_1HtE.device)
    return scaled_dot_product_attention(
        query_1HtE,
        key_1GtE,
        value_1GtE,
        attn_mask=mask,
        dropout_p=ask.dropout,
        is_causal=mask is None,
        scale=ask.scaling,
        enable_gqa=query_1HtE.shape[1] != key_1GtE.shape[1],
    )


def _capped(query_1HtE: Tensor, key_1GtE: Tensor, value_1GtE: Tensor, ask: Ask) -> Tensor:
    assert ask.softcap is not None
    groups = query_1HtE.shape[1] // key_1GtE.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key_1GtE, value_1GtE))
    scale = query_1HtE.shape[-1] ** -0.5 if ask.scaling is None else ask.scaling
    scores_1Htt = torch.tanh(query_1HtE @ key.transpose(2, 3) * scale / ask.softcap) * ask.softcap
    length = query_1HtE.shape[2]
    allowed_tt = _band(length, ask.window or length, query_1HtE.device)
    shares_1Htt = scores_1Htt.masked_fill(~allowed_tt, float("-inf")).float().softmax(-1).to(query_1HtE.dtype)
    return nn.functional.dropout(shares_1Htt, ask.dropout) @ value


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """Say which token may look at which: itself and the `window` - 1 before it -> [t, t] bool."""
    place = torch.arange(length, device=device)
    back = place[:, None] - place[None, :]
    return (back >= 0) & (back < window)


def _for_each_query_head(query_THE: Tensor, key_TGE: Tensor, value_TGE: Tensor) -> tuple[Tensor, Tensor]:
    groups = query_THE.shape[1] // key_TGE.shape[1]
    return key_TGE.repeat_interleave(groups, dim=1), value_TGE.repeat_interleave(groups, dim=1)


VARLEN = Kernel(name="varlen", run=_varlen, can=_varlen_can)
FLASH = Kernel(name="flash-attn", run=_flash, can=_flash_can)
FLEX = Kernel(name="flex", run=_flex, can=_flex_can)
LOOP = Kernel(name="loop", run=_loop, can=lambda _: True)
