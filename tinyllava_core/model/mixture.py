"""A mixture of two vision encoders as one: their patches interleaved. It has no tokens but patches, and no weights of its own.

Shapes: N images, P patches of one member, V width.
Source: arXiv 2401.06209, section 4.2 (interleaved mixture of features).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, CLIPVisionConfig, Dinov2Config, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutput


class MixtureConfig(PreTrainedConfig):
    """The members' configurations, and what the rest of the model asks of an encoder's."""

    model_type = "clip_dinov2"
    sub_configs_defaults = {  # noqa: RUF012 (transformers' own way to say it)
        "clip": SubConfigSpec(config_class=CLIPVisionConfig),
        "dinov2": SubConfigSpec(config_class=Dinov2Config),
    }
    clip: dict[str, Any] | PreTrainedConfig | None = None
    dinov2: dict[str, Any] | PreTrainedConfig | None = None
    image_size: int = 224
    patch_size: int = 14
    hidden_size: int = 1024
    num_hidden_layers: int = 24


class MixtureVision(PreTrainedModel):
    """CLIP's patches on even places, DINOv2's on odd ones; class tokens left out."""

    config_class = MixtureConfig
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ("CLIPEncoderLayer", "Dinov2Layer")

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
        pairs = zip(
            *(member(pixel_values, output_hidden_states=True).hidden_states for member in (self.clip, self.dinov2)),
            strict=True,
        )
        states = tuple(torch.stack([state[:, 1:] for state in pair], 2).flatten(1, 2) for pair in pairs)
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=states)


AutoConfig.register(MixtureConfig.model_type, MixtureConfig)
AutoModel.register(MixtureConfig, MixtureVision)
