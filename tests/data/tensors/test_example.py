"""Images become pixels as their encoder's own processor does it, and records become one pack."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BitImageProcessor, CLIPImageProcessor, LlavaImageProcessor, SiglipImageProcessor

from tinyllava_core.data.inspect.decode import decode
from tinyllava_core.data.plan.prompt import IGNORE, Encoded
from tinyllava_core.data.tensors.example import blank, fit, join, mean_colour, normalise, pad_square
from tinyllava_core.parts import VISIONS, Vision
from tinyllava_core.settings.model import ImageMode, Pixels

DINO, SIGLIP2 = VISIONS["dinov2-large-patch14-224"], VISIONS["siglip2-so400m-patch14-384"]
CLIP, SIGLIP = VISIONS["clip-vit-large-patch14-336"], VISIONS["siglip-so400m-patch14-384"]


def pixels(image: bytes, row: Vision, mode: ImageMode, way: Pixels = "fast") -> torch.Tensor:
    return fit(decode(image), row, mode, way)


def picture(width: int, height: int, kind: str = "JPEG") -> bytes:
    """Draw a smooth picture with some texture, as a photograph has."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 25, (height, width, 3))
    image = np.stack([x * 200 // width, y * 200 // height, (x + y) * 100 // (width + height)], -1) + noise
    file = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(640, 480), (300, 500), (384, 384), (60, 40)])
def test_square_mode_is_the_processors_own_to_a_grey_level(width: int, height: int) -> None:
    image = picture(width, height)
    opened = Image.open(io.BytesIO(image))
    for row, processor in (
        (SIGLIP, SiglipImageProcessor(size={"height": 384, "width": 384})),
        (CLIP, CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=336)),
        (SIGLIP2, SiglipImageProcessor(size={"height": 384, "width": 384}, resample=2)),
        (DINO, BitImageProcessor(size={"shortest_edge": 256}, crop_size=224)),
    ):
        mine = normalise(pixels(image, row, "square")[None], row)[0]
        theirs = torch.as_tensor(
            np.asarray(processor(opened, image_mean=row.mean, image_std=row.std)["pixel_values"][0])
        )
        assert mine.shape == theirs.shape == (3, row.image_size, row.image_size)
        grey_levels = (mine - theirs).abs() * torch.tensor(row.std)[:, None, None] * 255
        assert grey_levels.mean() < 0.2, row.weights
        assert grey_levels.max() < 4, row.weights


@pytest.mark.parametrize(("width", "height"), [(640, 480), (300, 500), (60, 40)])
@pytest.mark.parametrize("mode", ["square", "pad"])
def test_pillows_way_gives_pillows_pixels_to_the_last_one(width: int, height: int, mode: ImageMode) -> None:
    image = picture(width, height)
    opened = Image.open(io.BytesIO(image)).convert("RGB")
    if mode == "pad":
        square = Image.new("RGB", (max(width, height),) * 2, mean_colour(SIGLIP))
        square.paste(opened, ((square.width - width) // 2, (square.height - height) // 2))
        opened = square
    wanted = np.asarray(opened.resize((384, 384), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels(image, SIGLIP, mode, "pil").permute(1, 2, 0).numpy(), wanted)
    fast = pixels(image, SIGLIP, mode, "fast").permute(1, 2, 0).numpy().astype(int)
    assert np.abs(fast - wanted).max() <= 3


def test_pad_mode_pastes_on_the_mean_colour_in_the_middle() -> None:
    assert mean_colour(CLIP) == (122, 116, 104)  # the values LLaVA's expand2square fills with
    assert mean_colour(SIGLIP) == (127, 127, 127)
    square = pad_square(np.zeros((2, 5, 3), np.uint8), (1, 2, 3))
    assert square.shape == (5, 5, 3)
    assert (square.sum(axis=(1, 2)) == 0).tolist() == [False, True, True, False, False]  # floor((5 - 2) / 2) = 1 above
    padded = pixels(picture(400, 200), SIGLIP, "pad")
    assert (padded[:, 0, :] == 127).all()
    assert (padded[:, -1, :] == 127).all()


def test_pad_mode_is_that_of_transformers_llava_processor() -> None:
    image = picture(200, 90, "PNG")
    for row in (CLIP, DINO):
        edge = row.short_edge or row.image_size
        processor = LlavaImageProcessor(
            do_pad=True, size={"shortest_edge": edge}, crop_size=row.image_size, image_mean=row.mean, image_std=row.std
        )
        assert processor.backend == "pil"
        theirs = torch.as_tensor(np.asarray(processor(Image.open(io.BytesIO(image)))["pixel_values"][0]))
        mine = normalise(pixels(image, row, "pad")[None], row)[0]
        grey_levels = (mine - theirs).abs() * torch.tensor(row.std)[:, None, None] * 255
        assert grey_levels.mean() < 0.2, row.weights
        assert grey_levels.max() < 4, row.weights


def test_a_colour_of_three_levels_fills_both_margins() -> None:
    wide, high = (
        pad_square(np.zeros((1, 4, 3), np.uint8), (1, 2, 3)),
        pad_square(np.zeros((5, 2, 3), np.uint8), (1, 2, 3)),
    )
    assert wide.tolist() == [[[1, 2, 3]] * 4, [[0, 0, 0]] * 4, [[1, 2, 3]] * 4, [[1, 2, 3]] * 4]
    assert high[2].tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0], [1, 2, 3], [1, 2, 3]]


def test_pictures_of_any_size_one_after_the_other_do_not_mix() -> None:
    """The memory that they are decoded into is used again."""
    images = [picture(*size) for size in ((640, 480), (40, 60), (384, 384), (300, 500))]
    together = [pixels(image, SIGLIP, "square") for image in images]
    for image, found in zip(images, together, strict=True):
        opened = torch.from_numpy(np.array(Image.open(io.BytesIO(image)).convert("RGB"))).permute(2, 0, 1)
        alone = torch.nn.functional.interpolate(opened[None], (384, 384), mode="bicubic", antialias=True)[0]
        assert torch.equal(found, alone)


def test_a_blank_image_is_zero_to_the_encoder_up_to_rounding() -> None:
    for row in (CLIP, SIGLIP):
        assert normalise(blank(row)[None], row).abs().max() < 0.02


def test_a_jpeg_decodes_to_pillows_pixels_and_odd_files_too() -> None:
    jpeg = picture(64, 48)
    assert np.array_equal(decode(jpeg), np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")))
    grey = io.BytesIO()
    Image.new("L", (8, 8), 100).save(grey, "JPEG")
    assert (decode(grey.getvalue()) == 100).all()
    clear = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(clear, "PNG")
    assert (decode(clear.getvalue()) == 255).all()  # alpha is laid on white
    palette = io.BytesIO()
    Image.new("P", (4, 4), 0).save(palette, "GIF")
    assert decode(palette.getvalue()).shape == (4, 4, 3)


def test_a_pack_restarts_positions_and_names_records() -> None:
    first = Encoded(ids=[5, 6, 7], labels=[IGNORE, 6, 7], image_ends=())
    second = Encoded(ids=[8, 9], labels=[IGNORE, 9], image_ends=())
    pack = join([first, second], [], 8)
    assert pack.ids_T.tolist() == [5, 6, 7, 8, 9]
    assert pack.position_T.tolist() == [0, 1, 2, 0, 1]
    assert pack.record_T.tolist() == [0, 0, 0, 1, 1]
    assert pack.pixels_N3HW.shape == (0, 3, 8, 8)
    assert pack.num_supervised == 3


def test_every_row_of_the_table_gives_the_papers_number_of_tokens() -> None:
    assert CLIP.num_patches == 576
    assert SIGLIP.num_patches == 729
    odd: Vision = VISIONS["toy-vit"]
    assert odd.num_patches == (odd.image_size // odd.patch_size) ** 2
