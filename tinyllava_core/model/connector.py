"""Connectors that look at each patch, or at a window of patches, on their own. One class a row; no other part here.

Shapes: N images, P patches, V vision width, K image tokens, D language width, G side of the grid (P = G * G), S side of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt, pi

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from tinyllava_core.errors import unknown
from tinyllava_core.model.connector_attention import GridQueries, QFormer, Resampler
from tinyllava_core.parts.connector import NUM_FREQUENCIES, Shape

INIT_STD = (
    0.02  # Source: the reference implementation's initializer_range, which its post_init applies to the connector
)


class Mlp(nn.Module):
    """Linear layers with GELU between: [N, P, V] -> [N, P, D]. Two layers are the paper's `mlp2x_gelu`.

    Its first two layers bear the names that transformers' Llava gives them, so that a two-layer checkpoint is one of its own.
    """

    def __init__(self, width_in: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.act = nn.GELU()
        for number in range(num_layers):
            self.add_module(f"linear_{number + 1}", nn.Linear(width_in if number == 0 else width, width))

    def forward(self, features_NPV: Tensor) -> Tensor:
        """Map every patch on its own."""
        hidden = features_NPV
        for number in range(self.num_layers):
            hidden = self.get_submodule(f"linear_{number + 1}")(self.act(hidden) if number else hidden)
        return hidden


class MixtureMlp(nn.Module):
    """One MLP for each of two interleaved encoders: even places through the first, odd ones through the second."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.first, self.second = _mlp(shape), _mlp(shape)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """[N, P, V] -> [N, P, D], in the same order."""
        pair = (self.first(features_NPV[:, 0::2]), self.second(features_NPV[:, 1::2]))
        return torch.stack(pair, 2).flatten(1, 2)


class PixelShuffle(nn.Module):
    """Lay each S x S window's patches side by side in the channels, then an MLP, or one matrix: [N, P, V] -> [N, P / S^2, D].

    With `norm` a layer norm stands between, as in InternVL's `mlp1` and LFM2-VL's projector.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.shrink is not None
        self.shrink = shape.shrink
        width_in = shape.vision_width * self.shrink**2
        self.norm = nn.LayerNorm(width_in) if shape.norm else nn.Identity()
        self.mlp: nn.Module
        if shape.layers is None:
            self.mlp = nn.Linear(width_in, shape.language_width, bias=False)
        else:
            self.mlp = Mlp(width_in, shape.language_width, shape.layers)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """Windows in reading order."""
        num, patches, width = features_NPV.shape
        windows = isqrt(patches) // self.shrink
        cut = features_NPV.view(num, windows, self.shrink, windows, self.shrink, width)
        tokens: Tensor = self.mlp(
            self.norm(cut.transpose(2, 3).reshape(num, windows * windows, self.shrink**2 * width))
        )
        return tokens


class AveragePool(nn.Module):
    """Average each S x S window, then an MLP: [N, P, V] -> [N, P / S^2, D]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.shrink is not None
        self.shrink, self.mlp = shape.shrink, _mlp(shape)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """Windows in reading order."""
        return self.mlp(avg_pool2d(_as_picture(features_NPV), self.shrink).flatten(2).transpose(1, 2))


class ConvBlock(nn.Module):
    """A residual block of depthwise-separable convolution: norm, 1 x 1, depthwise 3 x 3, GELU, 1 x 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.enter = nn.Conv2d(width, width, 1)
        self.spread = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.act = nn.GELU()
        self.leave = nn.Conv2d(width, width, 1)

    def forward(self, hidden_NVGG: Tensor) -> Tensor:
        """Keep the shape."""
        out: Tensor = hidden_NVGG + self.leave(self.act(self.spread(self.enter(self.norm(hidden_NVGG)))))
        return out


class ConvAbstractor(nn.Module):
    """Convolutions, average pooling to a smaller grid, convolutions, two-layer MLP: [N, P, V] -> [N, K, D], K a square."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.queries is not None
        self.side = isqrt(shape.queries)
        self.before = nn.Sequential(*(ConvBlock(shape.vision_width) for _ in range(shape.layers or 0)))
        self.behind = nn.Sequential(*(ConvBlock(shape.vision_width) for _ in range(shape.layers or 0)))
        self.mlp = Mlp(shape.vision_width, shape.language_width, 2)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """Cells in reading order."""
        pooled = adaptive_avg_pool2d(self.before(_as_picture(features_NPV)), self.side)
        return self.mlp(self.behind(pooled).flatten(2).transpose(1, 2))


class FourierMlp(nn.Module):
    """Tell each patch where it lies, in waves of several lengths, then an MLP: [N, P, V + 4F] -> [N, P, D]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.mlp = Mlp(shape.vision_width + 4 * NUM_FREQUENCIES, shape.language_width, shape.layers or 0)

    def forward(self, features_NPV: Tensor) -> Tensor:
        """Places are centres of patches, from 0 to 1 on either axis."""
        place_P2 = places(isqrt(features_NPV.shape[1]), features_NPV.device)
        powers_F = 2.0 ** torch.arange(NUM_FREQUENCIES, device=features_NPV.device)
        angle_P2F = pi * place_P2[..., None] * powers_F
        waves_PW = torch.cat([angle_P2F.sin(), angle_P2F.cos()], -1).flatten(1).to(features_NPV.dtype)
        return self.mlp(torch.cat([features_NPV, waves_PW.expand(len(features_NPV), -1, -1)], -1))


def places(grid: int, device: torch.device) -> Tensor:
    """Give the centres of a grid's cells, in reading order, from 0 to 1 -> [G * G, 2] (row, column)."""
    centre_G = (torch.arange(grid, device=device) + 0.5) / grid
    return torch.cartesian_prod(centre_G, centre_G)


class Newline(nn.Module):
    """The embedding that ends each row of an anyres picture's map. Source: LLaVA-NeXT's `image_newline`, its init too."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width) / width**0.5)

    def forward(self, tokens_MD: Tensor, place_I: Tensor, weight_I: Tensor | None) -> Tensor:
        """Read the tokens of all tiles in an order; -1 is this embedding -> [I, D]. With weights [I, 4], between four of them."""
        table = torch.cat([tokens_MD, self.weight[None].to(tokens_MD.dtype)])
        if weight_I is None:
            return table[place_I]
        return (table[place_I] * weight_I[..., None].to(table.dtype)).sum(1)


def _as_picture(features_NPV: Tensor) -> Tensor:
    """[N, P, V] -> [N, V, G, G]. Contiguous: torch 2.13 on a CPU crashes in the backward of convolutions over the bare view."""
    side = isqrt(features_NPV.shape[1])
    return features_NPV.transpose(1, 2).unflatten(2, (side, side)).contiguous()


def _mlp(shape: Shape) -> Mlp:
    assert shape.layers is not None
    return Mlp(shape.vision_width, shape.language_width, shape.layers)


CLASSES: dict[str, Callable[[Shape], nn.Module]] = {
    "mlp": _mlp,
    "linear": lambda shape: Mlp(shape.vision_width, shape.language_width, 1),
    "identity": lambda shape: nn.Identity(),
    "resampler": Resampler,
    "qformer": QFormer,
    "mixture-mlp": MixtureMlp,
    "pixel-shuffle": PixelShuffle,
    "pixel-shuffle-linear": PixelShuffle,
    "average-pool": AveragePool,
    "conv-abstractor": ConvAbstractor,
    "grid-queries": GridQueries,
    "fourier-mlp": FourierMlp,
}


def build(shape: Shape) -> nn.Module:
    """Build a connector with fresh weights: matrices and kernels N(0, 0.02), biases 0, norms 1 and 0, queries as their class says."""
    if shape.kind not in CLASSES:
        raise unknown("connector", shape.kind, CLASSES)
    connector = CLASSES[shape.kind](shape)
    for module in connector.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return connector
