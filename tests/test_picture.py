"""What becomes of a picture, from its size alone: against numbers that the published classes gave, and against those classes."""

from __future__ import annotations

import math
import random

import pytest
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.models.idefics3.image_processing_pil_idefics3 import (
    _resize_output_size_rescale_to_max_len,
    _resize_output_size_scale_below_upper_bound,
)
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

from tinyllava_core.parts.picture import NEXT_GRIDS, Scheme

SIX_BY_SIX = tuple((rows, columns) for rows in range(1, 7) for columns in range(1, 7))
NEXT_CLIP = Scheme(mode="anyres", tile=336, tokens=576, side=24, grids=NEXT_GRIDS)
NEXT_SIGLIP = Scheme(mode="anyres", tile=384, tokens=729, side=27, grids=NEXT_GRIDS)
ONEVISION = Scheme(mode="anyres", tile=384, tokens=729, side=27, grids=SIX_BY_SIX, max_tiles=9)
NANO = Scheme(mode="tiles", tile=512, tokens=64, long_side=2048)
NANO_AS_IS = Scheme(mode="tiles", tile=512, tokens=64, long_side=2048, upscale=False)
SMOL_256M = Scheme(mode="tiles", tile=512, tokens=64, long_side=2048, like="smolvlm")
SMOL_2B = Scheme(mode="tiles", tile=384, tokens=81, long_side=1536, like="smolvlm")
INTERN = Scheme(mode="dynamic", tile=448, tokens=256, max_tiles=12)
NAFLEX = [Scheme(mode="native", tile=16, tokens=1, max_windows=most) for most in (256, 576, 1024)]

# width, height: tokens of LLaVA-NeXT with CLIP-336 and with SigLIP-384, LLaVA-OneVision, nanoVLM with and without upscaling,
# SmolVLM-256M, SmolVLM-2.2B, InternVL with 1 to 12 tiles, SigLIP2 NaFlex with 256, 576 and 1,024 patches.
# Source: the classes of transformers 5.24, nanoVLM 4e0c096 and InternVL 2410d1d, run on these sizes.
PUBLISHED = {
    (640, 480): (2340, 2929, 2929, 832, 320, 832, 1053, 3328, 252, 567, 972),
    (480, 640): (2352, 2943, 2943, 832, 320, 832, 1053, 3328, 252, 567, 972),
    (336, 336): (1176, 1512, 1485, 1088, 64, 1088, 1377, 256, 256, 576, 1024),
    (512, 512): (2928, 3699, 3699, 1088, 64, 1088, 1377, 256, 256, 576, 1024),
    (1024, 768): (2340, 2929, 4725, 832, 320, 832, 1053, 3328, 252, 567, 972),
    (1920, 1080): (1948, 2379, 7269, 832, 832, 832, 1053, 2304, 252, 576, 1008),
    (1000, 200): (1598, 2123, 2123, 320, 192, 320, 405, 1536, 245, 572, 980),
    (200, 1000): (1656, 2187, 2187, 320, 192, 320, 405, 1536, 245, 572, 980),
    (100, 80): (1320, 1674, 1317, 1088, 64, 1088, 1377, 3328, 252, 567, 980),
    (1700, 2200): (2448, 3051, 7353, 1088, 1088, 1088, 1377, 3328, 252, 567, 1008),
    (3000, 400): (1306, 1631, 4152, 320, 320, 320, 405, 2304, 252, 576, 1020),
    (2048, 2048): (2928, 3699, 7371, 1088, 1088, 1088, 1377, 2560, 256, 576, 1024),
    (4000, 3000): (2340, 2929, 7309, 832, 832, 832, 1053, 3328, 252, 567, 972),
}
SCHEMES = (NEXT_CLIP, NEXT_SIGLIP, ONEVISION, NANO, NANO_AS_IS, SMOL_256M, SMOL_2B, INTERN, *NAFLEX)


@pytest.mark.parametrize("size", PUBLISHED)
def test_every_scheme_counts_the_tokens_that_its_own_program_counts(size: tuple[int, int]) -> None:
    assert tuple(scheme.cut(*size).tokens for scheme in SCHEMES) == PUBLISHED[size]


# The same sizes: LLaVA-NeXT's frame with CLIP-336 in pixels across x down, SmolVLM-256M's tiles down x across, InternVL's across x
# down, NaFlex's patches down x across at 256. Source: as above.
GRIDS = {
    (640, 480): ((672, 672), (3, 4), (4, 3), (14, 18)),
    (480, 640): ((672, 672), (4, 3), (3, 4), (18, 14)),
    (336, 336): ((672, 336), (4, 4), (1, 1), (16, 16)),
    (512, 512): ((672, 672), (4, 4), (1, 1), (16, 16)),
    (1024, 768): ((672, 672), (3, 4), (4, 3), (14, 18)),
    (1920, 1080): ((672, 672), (3, 4), (4, 2), (12, 21)),
    (1000, 200): ((1008, 336), (1, 4), (5, 1), (7, 35)),
    (200, 1000): ((336, 1008), (4, 1), (1, 5), (35, 7)),
    (100, 80): ((672, 336), (4, 4), (4, 3), (14, 18)),
    (1700, 2200): ((672, 672), (4, 4), (3, 4), (18, 14)),
    (3000, 400): ((1008, 336), (1, 4), (8, 1), (6, 42)),
    (2048, 2048): ((672, 672), (4, 4), (3, 3), (16, 16)),
    (4000, 3000): ((672, 672), (3, 4), (4, 3), (14, 18)),
}


def test_every_scheme_lays_the_grid_that_its_own_program_lays() -> None:
    for size, (frame, smol, intern, native) in GRIDS.items():
        cuts = [scheme.cut(*size) for scheme in (NEXT_CLIP, SMOL_256M, INTERN, NAFLEX[0])]
        assert (cuts[0].columns * 336, cuts[0].rows * 336) == frame, size
        assert [(cut.rows, cut.columns) for cut in cuts[1:]] == [smol, (intern[1], intern[0]), native], size


def test_marks_are_counted_as_the_published_processors_count_them() -> None:
    nano = {(640, 480): 845, (336, 336): 1105, (1000, 200): 325}
    smol = {(640, 480): 862, (480, 640): 863, (336, 336): 1127, (1000, 200): 332, (200, 1000): 335}
    large = {(640, 480): 1083, (480, 640): 1084, (336, 336): 1416, (1000, 200): 417, (200, 1000): 420}
    for scheme, counted in ((NANO, nano), (SMOL_256M, smol), (SMOL_2B, large)):
        assert {size: scheme.ids_of(scheme.cut(*size)) for size in counted} == counted


def test_the_anyres_map_keeps_one_row_of_padding_where_the_number_is_odd() -> None:
    cut = NEXT_CLIP.cut(640, 480)  # 576 of the whole, 36 rows of 48 and a newline each
    assert (cut.rows, cut.columns, cut.width, cut.height, cut.num_tiles) == (2, 2, 672, 504, 5)
    assert cut.kept is not None
    assert (cut.kept.top, cut.kept.left, cut.kept.rows, cut.kept.columns) == (6, 0, 36, 48)
    square = NEXT_CLIP.cut(336, 336)  # 576 of the whole, 24 rows of 24 and their newlines
    assert (square.tokens, square.num_tiles) == (576 + 576 + 24, 3)
    wide = NEXT_CLIP.cut(1000, 200)
    assert (wide.rows, wide.columns) == (1, 3)
    assert wide.kept is not None
    assert (wide.kept.rows, wide.kept.columns) == (14, 72)


def test_a_dynamic_grid_grows_only_where_the_picture_has_the_pixels() -> None:
    grids = {size: INTERN.cut(*size) for size in ((633, 633), (634, 634), (900, 900), (1300, 650))}
    assert [(cut.columns, cut.rows) for cut in grids.values()] == [(1, 1), (2, 2), (2, 2), (4, 2)]
    assert grids[633, 633].whole is None  # it is the whole
    assert grids[1300, 650].whole == "last"


def test_a_native_picture_keeps_its_shape_in_whole_patches() -> None:
    sizes = [scheme.cut(640, 480) for scheme in NAFLEX]
    assert [(cut.width, cut.height) for cut in sizes] == [(288, 224), (432, 336), (576, 432)]
    cut = Scheme(mode="native", tile=16, tokens=1, max_windows=784).cut(640, 480)
    assert (cut.width, cut.height, cut.tokens) == (512, 384, 768)
    assert (NAFLEX[0].cut(3000, 400).rows, NAFLEX[0].cut(3000, 400).columns) == (6, 42)


def test_windows_of_two_patches_make_even_grids() -> None:
    windows = Scheme(mode="native", tile=32, tokens=1, max_windows=64)  # what a shuffle of 2 makes of 256 patches
    cut = windows.cut(1000, 200)
    assert (cut.width % 32, cut.height % 32) == (0, 0)
    assert cut.tokens <= 64


def test_square_and_pad_make_one_tile_of_any_picture() -> None:
    for mode in ("square", "pad"):
        cut = Scheme(mode=mode, tile=384, tokens=729).cut(1920, 1080)  # type: ignore[arg-type]
        assert (cut.width, cut.height, cut.tokens, cut.num_tiles, cut.whole) == (384, 384, 729, 1, None)


def test_marks_name_the_whole_and_every_place_that_a_tile_can_have() -> None:
    assert len(NANO.marks) == 1 + 4 * 4
    assert NANO.marks[:2] == ("<|global_image|>", "<row_1_col_1>")
    assert SMOL_256M.marks[:2] == ("<fake_token_around_image>", "<global-img>")
    assert INTERN.marks == NEXT_CLIP.marks == ()


def _sizes(number: int) -> list[tuple[int, int]]:
    draw = random.Random(7)
    return [(round(math.exp(draw.uniform(3, 8.5))), round(math.exp(draw.uniform(3, 8.5)))) for _ in range(number)]


def test_the_dynamic_grid_is_transformers_on_three_thousand_sizes() -> None:
    for width, height in _sizes(3000):
        cut = INTERN.cut(width, height)
        assert (cut.columns, cut.rows) == get_optimal_tiled_canvas((height, width), (448, 448), 1, 12)


def test_the_native_size_is_transformers_on_three_hundred_sizes() -> None:
    for width, height in _sizes(300):
        cut = NAFLEX[0].cut(width, height)
        assert (cut.height, cut.width) == get_image_size_for_max_num_patches(height, width, 16, 256)


def test_the_anyres_count_is_transformers_on_a_thousand_sizes() -> None:
    class Theirs:
        image_grid_pinpoints = [[rows * 336, columns * 336] for rows, columns in NEXT_GRIDS]  # noqa: RUF012

    processor = LlavaNextProcessor.__new__(LlavaNextProcessor)
    processor.image_processor = Theirs()
    processor.patch_size, processor.num_additional_image_tokens = 14, 1
    for width, height in _sizes(1000):
        counted = processor._get_number_of_features(height, width, 336, 336) - 1  # its caller takes the class token off
        assert NEXT_CLIP.cut(width, height).tokens == counted


def test_the_smolvlm_grid_is_transformers_on_a_thousand_sizes() -> None:
    for width, height in _sizes(1000):
        down, across = _resize_output_size_rescale_to_max_len(height, width, max_len=2048)
        down, across = _resize_output_size_scale_below_upper_bound(down, across, max_len=4096)
        ratio = across / down  # Idefics3ImageProcessor.resize_for_vision_encoder
        if across >= down:
            columns, rows = math.ceil(across / 512), math.ceil(int(math.ceil(across / 512) * 512 / ratio) / 512)
        else:
            rows, columns = math.ceil(down / 512), math.ceil(int(math.ceil(down / 512) * 512 * ratio) / 512)
        cut = SMOL_256M.cut(width, height)
        assert (cut.rows, cut.columns) == (max(rows, 1), max(columns, 1))
