"""A picture cut into tiles: the pixels and the order of tokens that transformers' own classes give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from tinyllava_core.data.tensors.order import NEWLINE, Order, order_of
from tinyllava_core.data.tensors.tiles import cut_up, split
from tinyllava_core.model.connector import Newline
from tinyllava_core.parts import Vision
from tinyllava_core.parts.picture import NEXT_GRIDS, Scheme

HALF = (0.5, 0.5, 0.5)
ROW = Vision(
    weights="", image_size=48, patch_size=8, width=4, num_layers=1, num_class_tokens=0, mean=HALF, std=HALF
)  # fmt: skip
ANYRES = Scheme(mode="anyres", tile=48, tokens=36, side=6, grids=NEXT_GRIDS)
ONEVISION = Scheme(mode="anyres", tile=48, tokens=36, side=6, grids=NEXT_GRIDS, max_tiles=1)
SMOL = Scheme(mode="tiles", tile=48, tokens=4, long_side=192, like="smolvlm")
NANO = Scheme(mode="tiles", tile=48, tokens=4, long_side=192)
DYNAMIC = Scheme(mode="dynamic", tile=48, tokens=4, max_tiles=6)
SIZES = [(100, 70), (70, 101), (48, 48), (301, 57), (31, 200), (20, 17)]
HOW = {"do_rescale": False, "do_normalize": False}


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


def theirs(scheme: Scheme, image: np.ndarray) -> np.ndarray:
    opened = Image.fromarray(image)
    if scheme.mode == "anyres":
        grids = [[48 * rows, 48 * columns] for rows, columns in scheme.grids]
        size = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}, "image_grid_pinpoints": grids}
        return np.asarray(LlavaNextImageProcessorPil(**size, **HOW)(opened)["pixel_values"][0])
    if scheme.mode == "dynamic":
        size = {"size": {"height": 48, "width": 48}, "crop_to_patches": True, "max_patches": scheme.max_tiles}
        return np.stack(GotOcr2ImageProcessorPil(**size, **HOW)(opened)["pixel_values"])
    size = {"size": {"longest_edge": scheme.long_side}, "max_image_size": {"longest_edge": 48}}
    return np.asarray(Idefics3ImageProcessorPil(**size, **HOW)([[opened]])["pixel_values"][0])


@pytest.mark.parametrize("scheme", [ANYRES, SMOL, DYNAMIC], ids=["anyres", "smolvlm", "dynamic"])
def test_pillows_way_gives_the_processors_pixels_to_the_last_one(scheme: Scheme) -> None:
    for width, height in SIZES:
        image = picture(width, height)
        mine, other = cut_up(image, ROW, scheme, "pil").numpy(), theirs(scheme, image)
        assert mine.shape == other.shape == (scheme.cut(width, height).num_tiles, 3, 48, 48)
        assert np.array_equal(mine, other), (width, height)


@pytest.mark.parametrize("scheme", [ANYRES, DYNAMIC, NANO], ids=["anyres", "dynamic", "nanovlm"])
def test_the_fast_way_is_pillows_to_a_grey_level(scheme: Scheme) -> None:
    for width, height in SIZES:
        fast, slow = (cut_up(picture(width, height), ROW, scheme, way).int() for way in ("fast", "pil"))  # type: ignore[arg-type]
        assert ((fast - slow).abs() <= 1).float().mean() > 0.95  # of noise, squashed to a tenth: the worst there is
        assert (fast - slow).abs().float().mean() < 0.5


def test_tiles_are_cut_in_reading_order_and_the_whole_comes_first_or_last() -> None:
    ramp = np.zeros((96, 144, 3), np.uint8)
    for number in range(6):
        ramp[number // 3 * 48 :, number % 3 * 48 :][:48, :48] = 40 * number
    assert split(torch.from_numpy(ramp).permute(2, 0, 1), 48)[:, 0, 20, 20].tolist() == [0, 40, 80, 120, 160, 200]
    as_it_is = Scheme(mode="tiles", tile=48, tokens=4, long_side=144, upscale=False)
    nano, dynamic = (cut_up(ramp, ROW, scheme, "fast") for scheme in (as_it_is, DYNAMIC))
    assert nano[1:, 0, 20, 20].tolist() == dynamic[:6, 0, 20, 20].tolist() == [0, 40, 80, 120, 160, 200]
    assert torch.equal(nano[0], dynamic[6])


def test_a_picture_can_be_cut_as_one_of_another_size() -> None:
    assert (
        cut_up(picture(90, 63), ROW, DYNAMIC, "fast", (100, 70)).shape
        == cut_up(picture(100, 70), ROW, DYNAMIC, "fast").shape
    )


def _next_features(model: type, features: torch.Tensor, size: tuple[int, int], newline: torch.Tensor) -> torch.Tensor:
    """Let transformers' model lay out the tokens of one picture."""

    class Config:
        image_grid_pinpoints = [[48 * rows, 48 * columns] for rows, columns in NEXT_GRIDS]  # noqa: RUF012

        class vision_config:
            image_size, patch_size = 48, 8

    class Self:
        config = Config

    more = (
        {"vision_aspect_ratio": "anyres_max_1"}
        if model is LlavaOnevisionModel
        else {"vision_feature_select_strategy": "full"}
    )
    width, height = size
    laid, _ = model.pack_image_features(Self(), [features], [(height, width)], image_newline=newline, **more)
    return laid[0]


@pytest.mark.parametrize(("scheme", "model"), [(ANYRES, LlavaNextModel), (ONEVISION, LlavaOnevisionModel)])
def test_tokens_are_read_in_the_order_of_transformers_models(scheme: Scheme, model: type) -> None:
    newline = Newline(5)
    for size in SIZES:
        cut = scheme.cut(*size)
        features = torch.randn(cut.num_tiles, 36, 5)
        order = order_of(scheme, [size])
        assert order is not None
        mine = newline(features.flatten(0, 1), order.place_I, order.weight_I)
        assert len(mine) == cut.tokens
        torch.testing.assert_close(mine, _next_features(model, features, size, newline.weight), rtol=1e-5, atol=1e-6)


def test_part_of_an_order_is_the_order_of_the_part() -> None:
    whole, second = order_of(ANYRES, [(100, 70), (31, 200)]), order_of(ANYRES, [(31, 200)])
    assert whole is not None
    assert second is not None
    first = ANYRES.cut(100, 70)
    part: Order = whole.part(slice(first.tokens, None), slice(first.num_tiles, None))
    assert torch.equal(part.place_I, second.place_I)
    assert (part.place_I == NEWLINE).sum() == ANYRES.cut(31, 200).kept.to_rows  # type: ignore[union-attr]
    assert order_of(NANO, [(100, 70)]) is None
