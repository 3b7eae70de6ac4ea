"""Connectors whose tokens are queries that look at all patches: resampler, Q-Former, grid queries. One class a row.

Shapes: N images, P patches, V vision width, K queries, D language width, H heads, W head width, S side of a window.
"""

from __future__ import annotations

from math import isqrt, log

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, scaled_dot_product_attention
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from tinyllava_core.parts.connector import ATTENTION_HEADS, HEAD_WIDTH, Shape


class Attention(nn.Module):
    """Queries look at features and, where `sees_queries`, at one another: [N, K, D], [N, P, D] -> [N, K, D]."""

    def __init__(self, width: int, sees_queries: bool) -> None:
        super().__init__()
        inner = ATTENTION_HEADS * HEAD_WIDTH
        self.sees_queries = sees_queries
        self.norm_features, self.norm_queries = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, queries_NKD: Tensor, features_NPD: Tensor) -> Tensor:
        """Multi-head attention without biases."""
        queries, seen = self.norm_queries(queries_NKD), self.norm_features(features_NPD)
        if self.sees_queries:
            seen = torch.cat([seen, queries], 1)
        heads = [
            part.unflatten(-1, (ATTENTION_HEADS, HEAD_WIDTH)).transpose(1, 2)
            for part in (self.to_q(queries), *self.to_kv(seen).chunk(2, -1))
        ]
        out: Tensor = self.to_out(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Cross-attention, then a feed-forward layer four times as wide, each added to the queries."""

    def __init__(self, width: int, sees_queries: bool) -> None:
        super().__init__()
        self.attention = Attention(width, sees_queries)
        self.norm = nn.LayerNorm(width)
        self.enter, self.act, self.leave = (
            nn.Linear(width, 4 * width, bias=False),
            nn.GELU(),
            nn.Linear(4 * width, width, bias=False),
        )

    def forward(self, queries_NKD: Tensor, features_NPD: Tensor) -> Tensor:
        """Keep the queries' shape."""
        queries = queries_NKD + self.attention(queries_NKD, features_NPD)
        out: Tensor = queries + self.leave(self.act(self.enter(self.norm(queries))))
        return out


class Resampler(nn.Module):
    """Learned queries read the features (Perceiver): [N, P, V] -> [N, K, D]. Queries start as N(0, 1)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.queries is not None
        self.linear = nn.Linear(shape.vision_width, shape.language_width)
        self.queries = nn.Parameter(torch.randn(shape.queries, shape.language_width))
        self.blocks = nn.ModuleList(Block(shape.language_width, True) for _ in range(shape.layers or 0))
        self.norm = nn.LayerNorm(shape.language_width)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """The same queries for every image."""
        features, queries = self.linear(features_NPV), self.queries.expand(len(features_NPV), -1, -1)
        for block in self.blocks:
            queries = block(queries, features)
        return self.norm(queries)


class QFormer(nn.Module):
    """A BERT-shaped encoder of learned queries that reads the features in every second layer: [N, P, V] -> [N, K, D].

    transformers' own Q-Former, with random weights. Queries start as N(0, 0.02).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.queries is not None
        assert shape.hidden is not None
        config = Blip2QFormerConfig(
            hidden_size=shape.hidden,
            intermediate_size=4 * shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=max(1, shape.hidden // HEAD_WIDTH),
            encoder_hidden_size=shape.vision_width,
            cross_attention_frequency=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.queries = nn.Parameter(0.02 * torch.randn(shape.queries, shape.hidden))
        self.bert = Blip2QFormerModel(config)
        self.linear = nn.Linear(shape.hidden, shape.language_width)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """The same queries for every image."""
        queries = self.queries.expand(len(features_NPV), -1, -1)
        return self.linear(self.bert(query_embeds=queries, encoder_hidden_states=features_NPV).last_hidden_state)


class GridQueries(nn.Module):
    """One query for each S x S window: its average, with its place, looks at all features with theirs -> [N, P / S^2, D]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.shrink is not None
        self.shrink = shape.shrink
        self.linear = nn.Linear(shape.vision_width, shape.language_width)
        self.blocks = nn.ModuleList(Block(shape.language_width, False) for _ in range(shape.layers or 0))
        self.norm = nn.LayerNorm(shape.language_width)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """Windows in reading order."""
        side, width = isqrt(features_NPV.shape[1]), self.linear.out_features
        features = self.linear(features_NPV)
        features = features + waves(side, width, features.device).to(features.dtype)
        queries = (
            avg_pool2d(features.transpose(1, 2).unflatten(2, (side, side)), self.shrink).flatten(2).transpose(1, 2)
        )
        for block in self.blocks:
            queries = block(queries, features)
        return self.norm(queries)


def waves(grid: int, width: int, device: torch.device) -> Tensor:
    """Give fixed two-dimensional positions -> [G * G, D]: half of the channels tell the row, half the column.

    Source: arXiv 1706.03762, section 3.5, on either axis.
    """
    quarter = -(-width // 4)
    frequency_F = torch.exp(-log(10000.0) * torch.arange(quarter, device=device) / quarter)
    angle_GF = torch.arange(grid, device=device)[:, None] * frequency_F
    axis_GW = torch.cat([angle_GF.sin(), angle_GF.cos()], 1)
    rows, columns = axis_GW[:, None].expand(-1, grid, -1), axis_GW[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)[:, :width]
