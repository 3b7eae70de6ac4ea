"""Pictures of any shape: as transformers' SigLIP 2 processor and LFM2-VL's model take them, and a SigLIP that becomes such an encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Siglip2VisionConfig, Siglip2VisionModel, SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from tinyllava_core.data.tensors.example import normalise
from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.data.tensors.tiles import cut_up, whole
from tinyllava_core.model.vision.native import as_naflex, in_patches, on_square, patch_inputs
from tinyllava_core.model.vision.states import patches
from tinyllava_core.parts import VISIONS
from tinyllava_core.parts.picture import Scheme

ROW = VISIONS["siglip2-base-patch16-naflex"]
ALL = Scheme(mode="native", tile=16, tokens=1, max_windows=256, patch=16)
SIZES = [(100, 70), (70, 101), (48, 48), (301, 57), (31, 200), (20, 17)]
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8}


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


def test_what_the_encoder_is_given_is_the_processors_to_the_last_number() -> None:
    theirs = Siglip2ImageProcessorPil()([Image.fromarray(noise(*size)) for size in SIZES], return_tensors="pt")
    pixels = torch.cat([cut_up(noise(*size), ROW, ALL, "pil") for size in SIZES])
    order = order_of(ALL, SIZES)
    assert order is not None
    mine = patch_inputs(normalise(pixels, ROW), order.shapes_N2, 16)
    assert torch.equal(mine["spatial_shapes"], theirs["spatial_shapes"])
    assert torch.equal(mine["pixel_attention_mask"], theirs["pixel_attention_mask"].long())
    torch.testing.assert_close(mine["pixel_values"], theirs["pixel_values"], atol=1e-6, rtol=0)
    assert [ALL.cut(*size).tokens for size in SIZES] == theirs["pixel_attention_mask"].sum(1).tolist()
    assert len(order.place_I) == theirs["pixel_attention_mask"].sum()


def test_patches_put_together_again_are_the_scaled_picture() -> None:
    pixels = cut_up(noise(90, 63), ROW, ALL, "fast")[0]
    rows, columns = ALL.cut(90, 63).rows, ALL.cut(90, 63).columns
    picture = whole(pixels, (rows, columns))
    assert picture.shape == (3, 16 * rows, 16 * columns)
    assert torch.equal(in_patches(picture[None], 16)[0], pixels[:, : rows * columns])


def siglip() -> SiglipVisionModel:
    torch.manual_seed(3)
    encoder = SiglipVisionModel(SiglipVisionConfig(**SMALL, image_size=40)).eval()
    torch.nn.init.normal_(encoder.embeddings.position_embedding.weight)
    return encoder


@pytest.mark.parametrize("layer", ["final", -1, -2])
@torch.no_grad()
def test_a_siglip_of_one_size_becomes_the_same_encoder_for_any_shape(layer: int) -> None:
    encoder, squares = siglip(), torch.randn(2, 3, 40, 40)
    made, expected = as_naflex(encoder), patches(encoder, squares, layer, 0)
    torch.testing.assert_close(patches(made, squares, layer, 0), expected, atol=1e-5, rtol=1e-5)
    shapes = torch.tensor([[5, 5], [5, 5]])
    told = patches(made, in_patches(squares, 8), layer, 0, shapes)
    torch.testing.assert_close(told, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_are_scaled_to_a_pictures_shape_as_worked_out_by_hand() -> None:
    """A table of [[0, 1], [2, 3]] in one row of two, one column of two, and one row of four. Nothing else is added."""
    encoder = Siglip2VisionModel(Siglip2VisionConfig(**SMALL | {"num_patches": 4, "num_hidden_layers": 1})).eval()
    for parameter in encoder.embeddings.parameters():
        torch.nn.init.zeros_(parameter)
    encoder.embeddings.position_embedding.weight[:, 0] = torch.arange(4.0)
    shapes = torch.tensor([[1, 2], [2, 1], [1, 4]])
    given = patch_inputs(torch.zeros(3, 3, 4, 64), shapes, 8)
    found = encoder.embeddings(given["pixel_values"], given["spatial_shapes"])[:, :, 0]
    assert found[0, :2].tolist() == [1, 2]
    assert found[1, :2].tolist() == [0.5, 2.5]
    assert found[2].tolist() == [1, 1.25, 1.75, 2]


def test_windows_are_laid_on_the_square_one_by_one_in_reading_order() -> None:
    """A picture of 2 x 8 patches: windows of 2 x 2 are 0 1 8 9, 2 3 10 11, ...; on a square of 4 x 4 they are two by two."""
    features = torch.arange(16.0)[None, :, None]
    laid = on_square(features, torch.tensor([[2, 8]]), 2)[0, :, 0].reshape(4, 4).tolist()
    assert laid == [[0, 1, 2, 3], [8, 9, 10, 11], [4, 5, 6, 7], [12, 13, 14, 15]]


@torch.no_grad()
def test_a_picture_is_encoded_alike_whatever_is_beside_it_and_however_many_places_it_has() -> None:
    encoder, small = as_naflex(siglip()), Scheme(mode="native", tile=8, tokens=1, max_windows=25, patch=8)
    row = replace(ROW, image_size=40, patch_size=8)
    pixels, order = torch.cat([cut_up(noise(*size), row, small, "fast") for size in SIZES]), order_of(small, SIZES)
    assert order is not None
    assert order.shapes_N2 is not None
    together = patches(encoder, normalise(pixels, row), -2, 0, order.shapes_N2)
    for number, (rows, columns) in enumerate(order.shapes_N2.tolist()):
        mine = pixels[number : number + 1, :, : rows * columns]
        alone = patches(encoder, normalise(mine, row), -2, 0, order.shapes_N2[number : number + 1])
        torch.testing.assert_close(together[number, : rows * columns], alone[0], atol=1e-5, rtol=1e-5)
