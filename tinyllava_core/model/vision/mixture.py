"""A mixture of two vision encoders as one: their patches interleaved. It has no tokens but patches, and no weights of its own.

Shapes: N images, P patches of one member, V width.
Source: arXiv 2401.06209, section 4.2 (interleaved mixture of features), for CLIP and DINOv2. DINOv3 in DINOv2's place is our own:
its patches are larger, so it sees the picture scaled up to as many of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import AutoConfig, AutoModel, CLIPVisionConfig, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutput


class MixtureConfig(PreTrainedConfig):
    """The members' configurations, and what the rest of the model asks of an encoder's."""

    model_type = "clip_dinov2"
    sub_configs_defaults = {  # noqa: RUF012 (transformers' own way to say it)
        "clip": SubConfigSpec(config_class=CLIPVisionConfig),
        "dinov2": SubConfigSpec(config_class=AutoConfig, model_type="dinov2"),
    }
    clip: dict[str, Any] | PreTrainedConfig | None = None
    dinov2: dict[str, Any] | PreTrainedConfig | None = (
        None  # or DINOv3's: the second member, by the name of the first that was
    )
    image_size: int = 224
    patch_size: int = 14
    hidden_size: int = 1024
    num_hidden_layers: int = 24


class MixtureVision(PreTrainedModel):
    """CLIP's patches on even places, DINOv2's or DINOv3's on odd ones; class and register tokens left out."""

    config_class = MixtureConfig
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ("CLIPEncoderLayer", "Dinov2Layer", "DINOv3ViTLayer")

    def __init__(self, config: MixtureConfig) -> None:
        super().__init__(config)
        self.clip = AutoModel.from_config(config.clip)
        self.dinov2 = AutoModel.from_config(config.dinov2)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The first member's patch embedding: gradient checkpointing hooks in there."""
        embeddings: nn.Module = self.clip.get_input_embeddings()
        return embeddings

    def forward(self, pixel_values: Tensor, **more: Any) -> BaseModelOutput:
        """Encode the same pixels twice -> every hidden state interleaved, [N, 2P, V]."""
        found = [
            [state[:, skip:] for state in member(pixels, output_hidden_states=True).hidden_states]
            for member, pixels, skip in self.looks(pixel_values)
        ]
        states = tuple(torch.stack(pair, 2).flatten(1, 2) for pair in zip(*found, strict=True))
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=states)

    def looks(self, pixels_N3HW: Tensor) -> list[tuple[nn.Module, Tensor, int]]:
        """Give each member, the pixels that it sees, and how many leading tokens of its output are no patches."""
        looks, grid = list[tuple[nn.Module, Tensor, int]](), pixels_N3HW.shape[-1] // self.config.patch_size
        for member in (self.clip, self.dinov2):
            seen, side = pixels_N3HW, grid * member.config.patch_size
            if seen.shape[-1] != side:
                seen = interpolate(seen, (side, side), mode="bilinear", antialias=True, align_corners=False)
            looks.append((member, seen, 1 + (getattr(member.config, "num_register_tokens", None) or 0)))
        return looks


AutoConfig.register(MixtureConfig.model_type, MixtureConfig)
AutoModel.register(MixtureConfig, MixtureVision)
