"""Pictures of any shape through SigLIP2's NaFlex encoder, and a SigLIP of one size made into it. It trains nothing.

Such a picture comes as its patches, in reading order, on as many places as the largest has; what it does not fill stays empty.

Shapes: N pictures, P places for patches of one, p side of a patch, V width, G side of the square of P places, S side of a window of
patches that becomes one token.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor
from transformers import PreTrainedConfig, Siglip2VisionConfig, Siglip2VisionModel, SiglipVisionModel
from transformers.initialization import no_init_weights

NAFLEX = "siglip2_vision_model"
FIXED = "siglip_vision_model"
_SAME = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "patch_size"),
    *("hidden_act", "layer_norm_eps", "attention_dropout", "vision_use_head"),
)
_PATCH = "embeddings.patch_embedding.weight"


def patch_inputs(pixels: Tensor, shapes_N2: Tensor | None, patch: int) -> dict[str, Tensor]:
    """Give what the encoder takes: `pixel_values` [N, P, 3pp], `pixel_attention_mask` [N, P], `spatial_shapes` [N, 2].

    `pixels`: patches [N, 3, P, pp] with their (rows, columns), or whole squares [N, 3, Gp, Gp] without. Empty places are zeros.
    Source: Siglip2ImageProcessor, convert_image_to_patches: in a patch rows, then columns, then channels.
    """
    if shapes_N2 is None:
        side = pixels.shape[-1] // patch
        pixels = in_patches(pixels, patch)
        shapes_N2 = torch.full((len(pixels), 2), side, device=pixels.device)
    mask_NP = torch.arange(pixels.shape[2], device=pixels.device) < shapes_N2.prod(1, keepdim=True)
    values_NPC = pixels.permute(0, 2, 3, 1).flatten(2) * mask_NP[..., None]
    return {"pixel_values": values_NPC, "pixel_attention_mask": mask_NP.long(), "spatial_shapes": shapes_N2}


def in_patches(pixels_N3HW: Tensor, patch: int) -> Tensor:
    """Cut pictures of whole patches into them, in reading order -> [N, 3, P, pp]."""
    return pixels_N3HW.unflatten(3, (-1, patch)).unflatten(2, (-1, patch)).transpose(3, 4).flatten(4).flatten(2, 3)


def on_square(patches_NPV: Tensor, shapes_N2: Tensor, window: int) -> Tensor:
    """Lay each picture's windows on the square of the places one by one, in reading order -> [N, P, V].

    So a connector that takes every window alone gives a picture's tokens in order, whatever its shape; the rest is not read.
    Source: transformers, Lfm2VlModel.get_image_features, which lays them in one row.
    """
    if window == 1:
        return patches_NPV
    num_places, device = patches_NPV.shape[1], patches_NPV.device
    side = isqrt(num_places)
    place_P = torch.arange(num_places, device=device)
    row_P, column_P = place_P // side, place_P % side
    number_P = row_P // window * (side // window) + column_P // window
    rows_N1, columns_N1 = (shapes_N2[:, axis, None] // window for axis in (0, 1))
    down_NP = number_P // columns_N1 * window + row_P % window
    across_NP = number_P % columns_N1 * window + column_P % window
    from_NP = (down_NP * shapes_N2[:, 1, None] + across_NP).masked_fill(number_P >= rows_N1 * columns_N1, 0)
    return patches_NPV.gather(1, from_NP[..., None].expand_as(patches_NPV))


def naflex_config(config: PreTrainedConfig) -> Siglip2VisionConfig:
    """Write the configuration of the NaFlex encoder that is a SigLIP of one size where pictures have that size."""
    same = {name: getattr(config, name) for name in _SAME if hasattr(config, name)}
    return Siglip2VisionConfig(**same, num_patches=(config.image_size // config.patch_size) ** 2)


def as_naflex(encoder: SiglipVisionModel) -> Siglip2VisionModel:
    """Give the same encoder for pictures of any shape: its convolution becomes a matrix, its positions are scaled to each picture."""
    weights = dict(encoder.state_dict())
    weights[_PATCH] = weights[_PATCH].permute(0, 2, 3, 1).flatten(1)
    config = naflex_config(encoder.config)
    config.vision_use_head = any(name.startswith("head.") for name in weights)
    config._attn_implementation = encoder.config._attn_implementation
    with no_init_weights():
        made = Siglip2VisionModel(config)
    made.load_state_dict(weights)
    made.use_head = encoder.use_head
    return made.to(encoder.dtype).train(encoder.training)
