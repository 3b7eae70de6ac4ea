"""Packed attention against a dense mask written out in float64, with every option that a language model may ask for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tinyllava_core.model.attention import records_attention
from tinyllava_core.model.records import Records

LENGTHS = (5, 1, 9)


def by_a_dense_mask(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, cap: float | None) -> Tensor:
    """Attend over the whole pack, token by token, in plain loops -> [1, T, H, E]."""
    record = [which for which, length in enumerate(LENGTHS) for _ in range(length)]
    group = q.shape[1] // k.shape[1]
    out = torch.zeros(1, q.shape[2], q.shape[1], q.shape[3], dtype=torch.float64)
    for head in range(q.shape[1]):
        for t in range(q.shape[2]):
            seen = [s for s in range(t + 1) if record[s] == record[t] and (window is None or t - s < window)]
            scores = [float(q[0, head, t] @ k[0, head // group, s]) * scale for s in seen]
            if cap is not None:
                scores = [cap * math.tanh(score / cap) for score in scores]
            weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
            out[0, t, head] = sum(w * v[0, head // group, s] for w, s in zip(weights, seen, strict=True))
    return out


@pytest.mark.parametrize(("window", "cap"), [(None, None), (3, None), (100, None), (None, 2.0), (3, 2.0)])
def test_a_record_sees_itself_backwards_and_nothing_else(window: int | None, cap: float | None) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, sum(LENGTHS), 8, dtype=torch.float64) for heads in (4, 2, 2))
    record_T = torch.repeat_interleave(torch.arange(3), torch.tensor(LENGTHS))
    found, weights = records_attention(
        nn.Module(), q, k, v, None, scaling=0.3, sliding_window=window, softcap=cap, records=Records.of(record_T)
    )
    assert weights is None
    # a capped softmax is taken in float32, as Gemma-2's own class does
    torch.testing.assert_close(found, by_a_dense_mask(q, k, v, 0.3, window, cap), atol=1e-6, rtol=1e-6)


def test_records_are_read_off_their_numbers() -> None:
    records = Records.of(torch.tensor([0, 0, 1, 2, 2, 2]))
    assert records.lengths == (2, 1, 3)
    assert records.starts.tolist() == [0, 2, 3, 6]
    assert records.starts.dtype == torch.int32
