"""Connectors: from the vision encoder's features to the language model's width. One class a row; no other part here.

Shapes: N images, P patches, V vision width, K image tokens, D language width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from tinyllava_core.errors import unknown


class Mlp(nn.Module):
    """Linear layers with GELU between: [N, P, V] -> [N, P, D]. Two layers are the paper's `mlp2x_gelu`.

    Its first two layers bear the names that transformers' Llava gives them, so that a two-layer checkpoint is one of its own.
    """

    def __init__(self, vision_width: int, language_width: int, num_layers: int) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.act = nn.GELU()
        for number in range(num_layers):
            self.add_module(
                f"linear_{number + 1}", nn.Linear(vision_width if number == 0 else language_width, language_width)
            )

    def forward(self, features_NPV: Tensor) -> Tensor:
        """Map every patch on its own."""
        hidden = features_NPV
        for number in range(self.num_layers):
            hidden = self.get_submodule(f"linear_{number + 1}")(self.act(hidden) if number else hidden)
        return hidden


def linear(vision_width: int, language_width: int, num_layers: int) -> nn.Module:
    """One linear layer, whatever `num_layers` says."""
    return Mlp(vision_width, language_width, 1)


CLASSES: dict[str, Callable[[int, int, int], nn.Module]] = {"mlp": Mlp, "linear": linear}


def build(name: str, vision_width: int, language_width: int, num_layers: int) -> nn.Module:
    """Build a connector with fresh weights: matrices N(0, 0.02), biases 0.

    Source: the reference implementation's initializer_range, which its post_init applies to the connector.
    """
    if name not in CLASSES:
        raise unknown("connector", name, CLASSES)
    connector = CLASSES[name](vision_width, language_width, num_layers)
    for module in connector.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return connector
