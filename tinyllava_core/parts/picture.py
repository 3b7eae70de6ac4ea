"""How a picture is cut for the encoder, and how many tokens it becomes: from its width and height alone. It opens no picture.

A tile is a square that the encoder takes; the whole is the picture squashed to one tile. Sizes are (width, height) in pixels,
grids are rows x columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

ImageMode = Literal["square", "pad", "anyres", "tiles", "dynamic", "native"]
Like = Literal["nanovlm", "smolvlm"]

# LLaVA-NeXT's, as rows x columns, in transformers' order: on a tie the first wins, so the order decides. The original reads its
# list as (width, height) and so has them in another. Source: transformers, LlavaNextImageProcessor.image_grid_pinpoints.
NEXT_GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
_EPSILON = 1e-5  # of NaFlex's search for a scale. Source: Siglip2ImageProcessor, get_image_size_for_max_num_patches
_LONGEST = 4096  # pixels: no picture becomes larger. Source: Idefics3ImageProcessor, MAX_IMAGE_SIZE
_ROOM = 1.1  # a map is made smaller only if it is so much too large. Source: LlavaOnevisionModel.pack_image_features


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A way to cut pictures, resolved against the encoder and the connector: what a plan and a checkpoint remember of it."""

    mode: ImageMode
    tile: int  # pixels of a tile's side; native: of the side of a window that becomes one token
    tokens: int  # image tokens of a tile; native: of a window
    side: int | None = None  # tokens on a side of a tile's square, where they lie on one
    grids: tuple[tuple[int, int], ...] = ()  # anyres: rows x columns to choose from, in order
    max_tiles: int | None = (
        None  # dynamic: at most so many beside the whole. anyres: a larger map is made smaller to so many
    )
    min_tiles: int = 1  # dynamic
    whole: bool = True  # dynamic: the whole picture comes too
    long_side: int = 0  # tiles: pixels
    upscale: bool = True  # tiles: smaller pictures too get that long side
    like: Like = "nanovlm"  # tiles: whose order, marks and rounding
    max_windows: int = 0  # native
    patch: int = 0  # native: pixels of a patch's side

    @property
    def is_fixed(self) -> bool:
        """Tell whether every picture becomes the same, whatever its size."""
        return self.mode in ("square", "pad")

    @property
    def marks(self) -> tuple[str, ...]:
        """Name the tokens that say where a tile lies: the tokenizer must have them."""
        if self.mode != "tiles":
            return ()
        most = range(1, -(-self.long_side // self.tile) + 1)
        around = (NANO_WHOLE,) if self.like == "nanovlm" else (SMOL_AROUND, SMOL_WHOLE)
        return (*around, *(place_mark(row, column) for row in most for column in most))

    def ids_of(self, cut: Cut) -> int:
        """Count a picture's tokens with its marks; a line's end counts as one."""
        if self.mode != "tiles":
            return cut.tokens
        if self.like == "nanovlm":
            return cut.tokens + cut.num_tiles
        rows = cut.rows if cut.whole else 0  # the last row's end and the one in front of the whole are one token
        return cut.tokens + 2 * cut.num_tiles + 1 + rows

    def cut(self, width: int, height: int) -> Cut:
        """Say what becomes of a picture of this size."""
        return _cut(self, width, height)


# Source: nanoVLM, models/config.py (vlm_extra_tokens); transformers, Idefics3Processor.
NANO_WHOLE, SMOL_AROUND, SMOL_WHOLE = "<|global_image|>", "<fake_token_around_image>", "<global-img>"


def place_mark(row: int, column: int) -> str:
    """Name the token in front of a tile, rows and columns counted from 1."""
    return f"<row_{row}_col_{column}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is left of an anyres picture's map of tokens when the padding is cut off."""

    top: int
    left: int
    rows: int
    columns: int
    to_rows: int  # made smaller to so many, where the map was too large; else as many as it has
    to_columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What becomes of a picture of one size."""

    width: int  # pixels, to which it is scaled
    height: int
    rows: int  # of tiles; native: of windows
    columns: int
    whole: Literal["first", "last"] | None  # where the whole picture comes; None: it does not
    tokens: int  # image tokens, marks not counted
    num_tiles: int  # that the encoder runs on, the whole one among them
    kept: Kept | None = None  # anyres


@lru_cache(1 << 16)  # sizes that come again; a big source has hundreds of thousands of others
def _cut(scheme: Scheme, width: int, height: int) -> Cut:
    return _CUTS[scheme.mode](scheme, width, height)


def _square(scheme: Scheme, width: int, height: int) -> Cut:
    side = scheme.tile
    return Cut(width=side, height=side, rows=1, columns=1, whole=None, tokens=scheme.tokens, num_tiles=1)


def _tiled(
    scheme: Scheme,
    rows: int,
    columns: int,
    whole: Literal["first", "last"] | None,
    *,
    size: tuple[int, int] | None = None,
) -> Cut:
    whole = whole if rows * columns > 1 else None
    number = rows * columns + (whole is not None)
    width, height = size or (columns * scheme.tile, rows * scheme.tile)
    return Cut(
        width=width, height=height, rows=rows, columns=columns, whole=whole, tokens=number * scheme.tokens, num_tiles=number
    )  # fmt: skip


def _tiles(scheme: Scheme, width: int, height: int) -> Cut:
    if scheme.like == "smolvlm":
        across, down = smol_size(width, height, long_side_of(scheme, width, height), scheme.tile)
        return _tiled(scheme, down // scheme.tile, across // scheme.tile, "last")
    # Source: nanoVLM, data/custom_transforms.py, DynamicResize
    tile, long, short = scheme.tile, max(width, height), min(width, height)
    to = long_side_of(scheme, width, height)
    other = max(math.ceil(short * (to / long) / tile) * tile, tile)
    across, down = (to, other) if width >= height else (other, to)
    return _tiled(scheme, down // tile, across // tile, "first")


def long_side_of(scheme: Scheme, width: int, height: int) -> int:
    """Give the longer side, in pixels, that a picture is scaled to before it is cut into tiles."""
    fitting = math.ceil(max(width, height) / scheme.tile) * scheme.tile
    return scheme.long_side if scheme.upscale else min(scheme.long_side, fitting)


def smol_first_size(width: int, height: int, long_side: int) -> tuple[int, int]:
    """Scale to a long side, the other one whole and even. Source: Idefics3ImageProcessor, get_resize_output_image_size."""
    ratio = width / height
    if width >= height:
        width, height = long_side, int(long_side / ratio)
        height = max(1, height + height % 2)
    else:
        width, height = int(long_side * ratio), long_side
        width = max(1, width + width % 2)
    if max(width, height) > _LONGEST:
        ratio = width / height
        width, height = (_LONGEST, int(_LONGEST / ratio)) if width >= height else (int(_LONGEST * ratio), _LONGEST)
    return max(1, width), max(1, height)


def smol_size(width: int, height: int, long_side: int, tile: int) -> tuple[int, int]:
    """Go on to whole tiles. Source: Idefics3ImageProcessor, resize_for_vision_encoder."""
    width, height = smol_first_size(width, height, long_side)
    ratio = width / height
    if width >= height:
        width = math.ceil(width / tile) * tile
        height = math.ceil(int(width / ratio) / tile) * tile
    else:
        height = math.ceil(height / tile) * tile
        width = math.ceil(int(height * ratio) / tile) * tile
    return max(width, tile), max(height, tile)


def _dynamic(scheme: Scheme, width: int, height: int) -> Cut:
    """Source: InternVL, dynamic_preprocess; transformers, GotOcr2ImageProcessor, get_optimal_tiled_canvas: the two agree."""
    ratio, area = width / height, width * height
    best, least = (1, 1), math.inf
    for columns, rows in _shapes(scheme.min_tiles, scheme.max_tiles or 1):
        off = abs(ratio - columns / rows)
        if off < least or (off == least and area > 0.5 * scheme.tile**2 * columns * rows):
            best, least = (columns, rows), off
    return _tiled(scheme, best[1], best[0], "last" if scheme.whole else None)


@cache
def _shapes(least: int, most: int) -> list[tuple[int, int]]:
    """List columns x rows with so many tiles, few tiles first."""
    sides = range(1, most + 1)
    found = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
    return sorted(found, key=lambda shape: shape[0] * shape[1])


def _anyres(scheme: Scheme, width: int, height: int) -> Cut:
    """Source: transformers, select_best_resolution, get_patch_output_size, LlavaNextModel.pack_image_features, unpad_image."""
    assert scheme.side is not None
    rows, columns = _best_grid(scheme, width, height)
    size = fitted(width, height, columns * scheme.tile, rows * scheme.tile)
    kept = _unpadded(width, height, rows * scheme.side, columns * scheme.side)
    to_rows, to_columns = kept
    if scheme.max_tiles is not None:
        over = math.sqrt(kept[0] * kept[1] / (scheme.max_tiles * scheme.side**2))
        if over > _ROOM:
            to_rows, to_columns = int(kept[0] // over), int(kept[1] // over)
    return Cut(
        width=size[0],
        height=size[1],
        rows=rows,
        columns=columns,
        whole="first",
        tokens=scheme.tokens + to_rows * (to_columns + 1),  # a newline behind every row
        num_tiles=rows * columns + 1,
        kept=Kept(
            top=(rows * scheme.side - kept[0]) // 2,
            left=(columns * scheme.side - kept[1]) // 2,
            rows=kept[0],
            columns=kept[1],
            to_rows=to_rows,
            to_columns=to_columns,
        ),
    )


def _best_grid(scheme: Scheme, width: int, height: int) -> tuple[int, int]:
    def worth(grid: tuple[int, int]) -> tuple[int, int]:
        down, across = grid[0] * scheme.tile, grid[1] * scheme.tile
        scale = min(across / width, down / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        return effective, -(across * down - effective)

    return max(scheme.grids, key=worth)  # the first of the best


def fitted(width: int, height: int, across: int, down: int) -> tuple[int, int]:
    """Scale a size into a frame, the aspect kept -> width, height."""
    scale_across, scale_down = across / width, down / height
    if scale_across < scale_down:
        return across, min(math.ceil(height * scale_across), down)
    return min(math.ceil(width * scale_down), across), down


def _unpadded(width: int, height: int, rows: int, columns: int) -> tuple[int, int]:
    """Say how many rows and columns of the map are left without the padding; one row of it may stay."""
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return rows - 2 * padding, columns
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return rows, columns - 2 * padding


def _native(scheme: Scheme, width: int, height: int) -> Cut:
    """Find the largest size of whole windows that has few enough of them. Source: Siglip2ImageProcessor (NaFlex)."""
    low, high = _EPSILON / 10, 100.0

    def windows(scale: float) -> tuple[int, int]:
        rows, columns = (max(1, math.ceil(side * scale / scheme.tile)) for side in (height, width))
        return rows, columns

    while high - low >= _EPSILON:
        middle = (low + high) / 2
        rows, columns = windows(middle)
        low, high = (middle, high) if rows * columns <= scheme.max_windows else (low, middle)
    rows, columns = windows(low)
    return Cut(
        width=columns * scheme.tile,
        height=rows * scheme.tile,
        rows=rows,
        columns=columns,
        whole=None,
        tokens=rows * columns * scheme.tokens,
        num_tiles=1,
    )


_CUTS = {
    "square": _square,
    "pad": _square,
    "anyres": _anyres,
    "tiles": _tiles,
    "dynamic": _dynamic,
    "native": _native,
}
