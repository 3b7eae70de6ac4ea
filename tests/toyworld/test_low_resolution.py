"""The low-resolution encoder sees small pictures as the other one sees them enlarged."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, interpolate
from transformers import SiglipVisionModel

from tinyllava_core.parts import VISIONS
from tinyllava_core.toyworld.make.low_resolution import shrunk


def test_the_small_kernel_gives_what_the_large_one_gives_on_the_patch_enlarged() -> None:
    generator = torch.Generator().manual_seed(1)
    kernel = torch.randn(5, 3, 12, 12, generator=generator)
    patches = torch.randn(7, 3, 6, 6, generator=generator)
    enlarged = interpolate(patches, (12, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(conv2d(patches, shrunk(kernel, 6)), conv2d(enlarged, kernel), atol=1e-4, rtol=1e-4)


def test_the_shipped_folder_is_the_other_encoder_but_for_its_patches() -> None:
    small, large = (
        SiglipVisionModel.from_pretrained(VISIONS[name].weights).state_dict() for name in ("toy-vit-36", "toy-vit")
    )
    assert small.keys() == large.keys()
    (patch,) = [name for name in large if name.endswith("patch_embedding.weight")]
    assert all(torch.equal(small[name], large[name]) for name in large if name != patch)
    assert small[patch].shape == (128, 3, 6, 6)
    assert VISIONS["toy-vit-36"].num_patches == VISIONS["toy-vit"].num_patches == 36
