"""Make the toy encoder for pictures of half the side: `python -m tinyllava_core.toyworld.make.low_resolution [OUT]`.

Nothing is trained: a patch of 6 x 6 pixels is read as the same patch, enlarged to 12 x 12, was by the encoder it is made
from. So it has as many tokens and sees a quarter of the pixels. Source of the idea: FlexiViT, arXiv 2212.08013, section 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from tinyllava_core.parts import TOY_BACKBONES, VISIONS


def main(arguments: list[str]) -> None:
    """Make the encoder under OUT (default: where the package looks for it)."""
    out = Path(arguments[0]) if arguments else TOY_BACKBONES / "vision-36"
    row = VISIONS["toy-vit-36"]
    large = SiglipVisionModel.from_pretrained(VISIONS["toy-vit"].weights, dtype=torch.float32)
    config = SiglipVisionConfig(
        **{**large.config.to_dict(), "image_size": row.image_size, "patch_size": row.patch_size}
    )
    small = SiglipVisionModel(config)
    weights = large.state_dict()
    (name,) = [name for name in weights if name.endswith("patch_embedding.weight")]
    weights[name] = shrunk(weights[name], row.patch_size)
    small.load_state_dict(weights)
    small.half().save_pretrained(out)
    size = {"height": row.image_size, "width": row.image_size}
    SiglipImageProcessor(size=size, image_mean=list(row.mean), image_std=list(row.std)).save_pretrained(out)


def shrunk(kernel_D3PP: Tensor, side: int) -> Tensor:
    """Give the kernel for patches of `side` pixels -> [D, 3, side, side]: on them it gives what the old one gives on them enlarged."""
    old = kernel_D3PP.shape[-1]
    unit = torch.eye(side * side).reshape(side * side, 1, side, side)
    enlarge_SP = interpolate(unit, (old, old), mode="bilinear", align_corners=False).reshape(side * side, old * old)
    flat = kernel_D3PP.reshape(*kernel_D3PP.shape[:2], old * old)
    return (flat @ enlarge_SP.T).reshape(*kernel_D3PP.shape[:2], side, side)


if __name__ == "__main__":
    main(sys.argv[1:])
