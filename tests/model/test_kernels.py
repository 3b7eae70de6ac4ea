"""Which kernel packed attention is, what each is given, and that each computes what the loop does, in float64."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tinyllava_core.model import attention, kernels
from tinyllava_core.model.kernels import FLASH, FLEX, LOOP, VARLEN, Ask
from tinyllava_core.model.records import Records
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.train.compiled import compile_blocks

LENGTHS = (5, 1, 9)
ASK = Ask(scaling=0.3, window=None, softcap=None, dropout=0.0)
ASKS = [
    ASK,
    dataclasses.replace(ASK, window=3),
    dataclasses.replace(ASK, softcap=2.0),
    dataclasses.replace(ASK, scaling=None),
]
BF16 = torch.bfloat16


def heads(query_heads: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(sum(LENGTHS), many, 8, dtype=torch.float64, generator=draw, requires_grad=True)
        for many in (query_heads, 2, 2)
    )
    return q, k, v


def one_by_one(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor, scale: float | None, look_back: int | None, cap: float | None
) -> Tensor:
    """What a library's kernel is said to compute, from its own arguments: softmax over a masked square of each record."""
    outs = []
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        one = [part[first:end].transpose(0, 1) for part in (q, k, v)]
        groups = q.shape[1] // k.shape[1]
        query, key, value = one[0], *(part.repeat_interleave(groups, 0) for part in one[1:])
        scores = query @ key.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if cap:
            scores = cap * torch.tanh(scores / cap)
        place = torch.arange(end - first)
        back = place[:, None] - place[None, :]
        seen = (back >= 0) & (back <= (end if look_back in (None, -1) else look_back))
        outs.append((scores.masked_fill(~seen, float("-inf")).softmax(-1) @ value).transpose(0, 1))
    return torch.cat(outs)


@pytest.fixture
def fresh() -> Any:
    kernels.taken_by.cache_clear()
    yield
    kernels.taken_by.cache_clear()


def newest(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False):  # type: ignore[no-untyped-def]
    """torch 2.12 and 2.13."""
    assert (cu_seq_q is cu_seq_k, cu_seq_q.dtype, max_q, max_k) == (True, torch.int32, 9, 9)
    assert window_size[1] == 0  # causal
    assert enable_gqa == (query.shape[1] != key.shape[1])
    return one_by_one(query, key, value, cu_seq_q, scale, window_size[0], None)


def without_groups(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1)):  # type: ignore[no-untyped-def]
    """torch 2.11."""
    assert query.shape[1] == key.shape[1]
    return newest(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size)


def first(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False):  # type: ignore[no-untyped-def]
    """torch 2.10."""
    assert is_causal
    return without_groups(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=(-1, 0))


def flash(  # type: ignore[no-untyped-def]
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False,
    window_size=(-1, -1), softcap=0.0,
):  # fmt: skip
    assert (causal, dropout_p, max_seqlen_q, max_seqlen_k, cu_seqlens_q.dtype) == (True, 0.0, 9, 9, torch.int32)
    return one_by_one(q, k, v, cu_seqlens_q, softmax_scale, window_size[0], softcap)


def install(
    patch: pytest.MonkeyPatch, varlen: Callable[..., Tensor] | None, flash_attn: Callable[..., Tensor] | None
) -> None:
    """Be a machine with these functions in its libraries."""
    patch.setitem(sys.modules, "torch.nn.attention.varlen", types.ModuleType("varlen") if varlen else None)
    patch.setitem(sys.modules, "flash_attn", types.ModuleType("flash_attn") if flash_attn else None)
    if varlen:
        sys.modules["torch.nn.attention.varlen"].varlen_attn = varlen  # type: ignore[attr-defined]
    if flash_attn:
        sys.modules["flash_attn"].flash_attn_varlen_func = flash_attn  # type: ignore[attr-defined]


@pytest.mark.parametrize("varlen", [newest, without_groups, first])
@pytest.mark.parametrize("query_heads", [4, 2])
@pytest.mark.parametrize("ask", ASKS, ids=["plain", "window", "capped", "own scale"])
@pytest.mark.usefixtures("fresh")
def test_every_kernel_computes_what_the_loop_does_with_its_gradients(
    ask: Ask, query_heads: int, varlen: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, varlen, flash)
    records, found = Records.lying(LENGTHS, torch.device("cpu")), {}
    able = [kernel for kernel in (LOOP, VARLEN, FLASH, FLEX) if kernel.can(ask)]
    assert (VARLEN in able) == (ask.softcap is None and (ask.window is None or varlen is not first))
    for kernel in able:
        q, k, v = heads(query_heads)
        if kernel is FLEX:  # which has no backward on a CPU: values alone
            found["flex"] = (kernel.run(q.detach(), k.detach(), v.detach(), records, ask),)
            continue
        out = kernel.run(q, k, v, records, ask)
        found[kernel.name] = (out, *torch.autograd.grad((out * out.detach().cos()).sum(), (q, k, v)))
    for name, values in found.items():
        for mine, theirs in zip(values, found["loop"], strict=False):
            # a capped softmax is taken in float32, as Gemma-2's own class does
            torch.testing.assert_close(mine, theirs, atol=1e-6 if ask.softcap else 1e-12, rtol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("varlen", "flash_attn", "ask", "wanted"),
    [
        (newest, flash, ASK, VARLEN),
        (first, None, ASK, VARLEN),
        (first, flash, dataclasses.replace(ASK, window=3), FLASH),
        (first, None, dataclasses.replace(ASK, window=3), FLEX),
        (None, flash, ASK, FLASH),
        (None, None, ASK, FLEX),
        (newest, flash, dataclasses.replace(ASK, softcap=2.0), FLASH),
        (newest, None, dataclasses.replace(ASK, softcap=2.0), FLEX),
        (newest, None, dataclasses.replace(ASK, dropout=0.1), LOOP),
    ],
)
@pytest.mark.usefixtures("fresh")
def test_the_kernel_is_chosen_by_what_the_libraries_functions_take(
    varlen: Any, flash_attn: Any, ask: Ask, wanted: kernels.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, varlen, flash_attn)
    assert kernels.choose("cuda", BF16, ask) is wanted
    assert kernels.choose("cuda", torch.float32, ask) is LOOP
    assert kernels.choose("cpu", BF16, ask) is LOOP


@pytest.mark.usefixtures("fresh")
def test_under_autocast_the_kernel_gets_query_key_and_value_in_half_precision(
    tiny_model: TinyLlava, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotary embeddings are float32: they made the kernel impossible in every training."""
    install(monkeypatch, newest, None)
    seen = []

    def spied(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any) -> Tensor:
        seen.append((query.dtype, key.dtype, value.dtype))
        return newest(query, key, value, *rest, **more)

    sys.modules["torch.nn.attention.varlen"].varlen_attn = spied  # type: ignore[attr-defined]
    true_choose = kernels.choose
    monkeypatch.setattr(kernels, "taken_by", lambda *_: frozenset({"window_size", "scale", "enable_gqa"}))
    monkeypatch.setattr(kernels, "choose", lambda _device, dtype, ask: true_choose("cuda", dtype, ask))
    lengths = torch.tensor(LENGTHS)
    record_T = torch.repeat_interleave(torch.arange(3), lengths)
    position_T = torch.cat([torch.arange(length) for length in LENGTHS])
    ids_T = torch.arange(15) % 5 + 5
    with torch.autocast("cpu", torch.bfloat16):
        losses = tiny_model.supervised_losses(ids_T, position_T, record_T, torch.zeros(0, 3, 24, 24), ids_T)
    losses.sum().backward()
    assert seen == [(BF16, BF16, BF16)] * 2  # two blocks


def test_layers_that_hand_on_positions_alone_find_their_records_without_reading_them() -> None:
    record_T = torch.repeat_interleave(torch.arange(3), torch.tensor(LENGTHS))
    q, k, v = (part.transpose(0, 1)[None] for part in heads())
    meta = [part.detach().to("meta") for part in (q, k, v)]  # asking a meta tensor for a value is an error
    position = torch.empty(1, sum(LENGTHS), dtype=torch.int64, device="meta")
    attention.remember(position, Records.of(record_T))
    out, _ = attention.records_attention(nn.Module(), *meta, None, position_ids=position)
    assert out.shape == (1, sum(LENGTHS), 4, 8)


def test_a_pack_with_its_layout_asks_the_device_nothing_forward_and_backward(tiny_model: TinyLlava) -> None:
    """On the meta device, where every question (item, tolist, nonzero, a copy to the CPU) is an error."""
    from tinyllava_core.data.tensors.example import Places
    from tinyllava_core.train.passes import layout_of

    ids_T = torch.tensor([2] * 9 + [5, 6, 7] + [5, 8, 9, 7])
    record_T = torch.tensor([0] * 12 + [1] * 4)
    labels_T = torch.where(torch.arange(16) % 4 == 3, ids_T, -100)
    model = tiny_model.to("meta").train()
    arguments = [ids_T, torch.cat([torch.arange(12), torch.arange(4)]), record_T, torch.zeros(1, 3, 24, 24), labels_T]
    there = [argument.to("meta") for argument in arguments]
    with pytest.raises(RuntimeError):
        model.supervised_losses(*there)
    layout = layout_of(Places.of(ids_T, labels_T, record_T, 2), None)
    layout = dataclasses.replace(
        layout, **{name: getattr(layout, name).to("meta") for name in ("image_I", "keep_S", "labels_S")}
    )
    losses = model.supervised_losses(*there, layout)
    losses.sum().backward()
    assert losses.shape == (4,)


@pytest.mark.parametrize("again", [False, True])
def test_blocks_that_are_made_again_are_compiled_once_for_all_lengths_and_layers(
    tiny_model: TinyLlava, again: bool
) -> None:
    """Graphs are counted, by a backend that only counts; the attention stands outside of them. `again`: in the backward pass."""
    graphs = []

    def counting(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    def gradients(lengths: tuple[int, ...]) -> list[Tensor]:
        record_T = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        position_T = torch.cat([torch.arange(length) for length in lengths])
        ids_T = torch.arange(len(record_T)) % 5 + 5
        losses = tiny_model.supervised_losses(ids_T, position_T, record_T, torch.zeros(0, 3, 24, 24), ids_T)
        layers = tiny_model.model.language_model.layers
        return list(torch.autograd.grad(losses.sum(), list(layers.parameters())))

    packs = ((5, 1, 9), (4, 7), (3, 3, 3, 3, 8), (30,))
    wanted = [gradients(lengths) for lengths in packs]
    tiny_model.train()
    if again:
        tiny_model.model.language_model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    torch._dynamo.reset()
    compile_blocks(tiny_model.model.language_model, counting)
    made = []
    for lengths, theirs in zip(packs, wanted, strict=True):
        torch.testing.assert_close(gradients(lengths), theirs)
        made.append(len(graphs))
    torch._dynamo.reset()
    assert made[0] > 0
    assert made == [made[0]] * 4
