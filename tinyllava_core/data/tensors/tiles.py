"""A picture cut into what the encoder takes. How it is cut is parts/picture.py's to say; it encodes nothing.

Shapes: N tiles of a picture (the whole one among them), S side of a tile; P places for patches of a picture of any shape, p side of one.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tinyllava_core.data.inspect.decode import Scratch, decode
from tinyllava_core.data.tensors.example import fit, resized
from tinyllava_core.parts import Vision
from tinyllava_core.parts.picture import Cut, Scheme, long_side_of, smol_first_size
from tinyllava_core.settings.model import Pixels

_SCRATCH = Scratch()


def opened(image: bytes, vision: Vision, scheme: Scheme, way: Pixels) -> Tensor:
    """Decode an image file and bring it to what the encoder takes: see `cut_up`."""
    return cut_up(decode(image, _SCRATCH), vision, scheme, way)  # what comes out is memory of its own


def cut_up(
    image_HW3: np.ndarray, vision: Vision, scheme: Scheme, way: Pixels, as_of: tuple[int, int] | None = None
) -> Tensor:
    """Bring a decoded picture to what the encoder takes -> [N, 3, S, S] uint8, tiles in reading order; native: [1, 3, P, pp], its patches.

    `as_of`: cut it as a picture of that (width, height), whatever its own size. With `pil` the pixels are those of transformers'
    processors to the last one; `fast` is one antialiased bicubic resize on bytes.
    """
    if scheme.mode in ("square", "pad"):
        return fit(image_HW3, vision, scheme.mode, way)[None]
    height, width = image_HW3.shape[:2]
    cut = scheme.cut(*(as_of or (width, height)))
    image_3HW = torch.from_numpy(image_HW3).permute(2, 0, 1)
    if scheme.mode == "native":
        return _patches(
            resized(image_3HW, cut.height, cut.width, vision.resample, way), scheme.patch, vision.num_patches
        )
    if scheme.mode == "tiles":
        return _tiles(image_3HW, scheme, cut, way, as_of or (width, height))
    scaled_3HW = resized(image_3HW, cut.height, cut.width, "bicubic", way)
    if scheme.mode == "anyres":
        scaled_3HW = _centred(scaled_3HW, cut.rows * scheme.tile, cut.columns * scheme.tile)
    return _with_whole(scaled_3HW, image_3HW, scheme, cut, "bicubic", way)


def _tiles(image_3HW: Tensor, scheme: Scheme, cut: Cut, way: Pixels, size: tuple[int, int]) -> Tensor:
    """SmolVLM's processor scales twice, and its whole picture is scaled from the tiles; both of Lanczos."""
    filter_ = "lanczos" if scheme.like == "smolvlm" and way == "pil" else "bicubic"
    if filter_ == "lanczos":
        width, height = smol_first_size(*size, long_side_of(scheme, *size))
        image_3HW = resized(image_3HW, height, width, filter_, way)
    scaled_3HW = resized(image_3HW, cut.height, cut.width, filter_, way)
    return _with_whole(scaled_3HW, scaled_3HW, scheme, cut, filter_, way)


def _with_whole(scaled_3HW: Tensor, whole_3HW: Tensor, scheme: Scheme, cut: Cut, filter_: str, way: Pixels) -> Tensor:
    """Cut what is scaled into tiles, and put the whole picture where the cut has it."""
    tiles_N3SS = split(scaled_3HW, scheme.tile)
    if cut.whole is None:
        return tiles_N3SS
    whole_13SS = resized(whole_3HW, scheme.tile, scheme.tile, filter_, way)[None]
    return torch.cat([whole_13SS, tiles_N3SS] if cut.whole == "first" else [tiles_N3SS, whole_13SS])


def split(image_3HW: Tensor, side: int) -> Tensor:
    """Cut an image of whole tiles into them, in reading order -> [N, 3, S, S]."""
    channels, height, width = image_3HW.shape
    cut = image_3HW.view(channels, height // side, side, width // side, side)
    return cut.permute(1, 3, 0, 2, 4).reshape(-1, channels, side, side)


def _patches(image_3HW: Tensor, side: int, places: int) -> Tensor:
    """Cut an image of whole patches into them, in reading order, and leave the places behind them empty -> [1, 3, P, pp]."""
    cut_3Pp = split(image_3HW, side).transpose(0, 1).flatten(2)
    return pad(cut_3Pp, (0, 0, 0, places - cut_3Pp.shape[1]))[None]


def whole(pixels_3HW: Tensor, shape: tuple[int, int] | None) -> Tensor:
    """Put a picture of patches together again -> [3, H, W]. No shape (rows, columns of patches): it is whole."""
    if shape is None:
        return pixels_3HW
    rows, columns = shape
    side = isqrt(pixels_3HW.shape[2])
    cut = pixels_3HW[:, : rows * columns].reshape(3, rows, columns, side, side)
    return cut.transpose(2, 3).reshape(3, rows * side, columns * side)


def _centred(image_3HW: Tensor, height: int, width: int) -> Tensor:
    """Lay an image in the middle of a black frame; an odd pixel goes to the right and the bottom."""
    top, left = (height - image_3HW.shape[1]) // 2, (width - image_3HW.shape[2]) // 2
    frame = image_3HW.new_zeros(3, height, width)
    frame[:, top : top + image_3HW.shape[1], left : left + image_3HW.shape[2]] = image_3HW
    return frame
