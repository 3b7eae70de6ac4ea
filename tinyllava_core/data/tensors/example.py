"""From a record's bytes to tensors: pixels of images, one packed sequence of several records. It reads no files.

Shapes: N images, H height, W width, T tokens of a pack.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from tinyllava_core.data.plan.prompt import Encoded
from tinyllava_core.data.tensors.order import Order
from tinyllava_core.parts import Vision
from tinyllava_core.settings.model import ImageMode, Pixels
from tinyllava_core.tokenizer import IGNORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Several records as one sequence, and their images."""

    ids_T: Tensor  # int64
    labels_T: Tensor  # int64, IGNORE where not supervised
    position_T: Tensor  # int64, from 0 in each record
    record_T: Tensor  # int64, which record of the pack a token belongs to
    pixels_N3HW: Tensor  # uint8: images, or the tiles that they are cut into; N may be 0
    tiles: tuple[int, ...] = ()  # how many of them are each record's
    order: Order | None = None  # None: their tokens are read as they come
    which_N: Tensor | None = None  # int64: of each tile in order, which of the pixels it is; None: each is its own
    features_NPV: Tensor | None = None  # the encoder's output in their place (then there are no pixels)
    places: Places | None = None  # None: to be found by whoever needs them

    @property
    def num_supervised(self) -> int:
        """Tokens that are predicted."""
        return int((self.labels_T != IGNORE).sum())

    @property
    def every_pixel(self) -> Tensor:
        """The pixels of every tile in order, one that is shown twice twice."""
        return self.pixels_N3HW if self.which_N is None else self.pixels_N3HW[self.which_N]

    def apart(self) -> Pack:
        """Give the same pack with a picture for each record that shows it."""
        return self if self.which_N is None else dataclasses.replace(self, pixels_N3HW=self.every_pixel, which_N=None)

    def pin_memory(self) -> Pack:
        """Move to memory that a GPU can fetch from by itself. The data loader calls this."""
        return mapped(self, Tensor.pin_memory)

    def to(self, device: torch.device) -> Pack:
        """Send every tensor on its way to a device."""
        return mapped(self, lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What is where in a pack, found in the loader: on a GPU each would be a question to wait for."""

    lengths: tuple[int, ...]  # tokens of each record
    starts: Tensor  # int32 [records + 1]: their running sums
    image_I: Tensor  # int64, places of image tokens
    keep_S: Tensor  # int64, places whose next token is supervised
    labels_S: Tensor  # int64, that token
    record_S: Tensor  # int64, its record
    answer_S: Tensor  # int64, which of the pack's answers, from 0: a run of supervised tokens without a gap

    @classmethod
    def of(cls, ids_T: Tensor, labels_T: Tensor, record_T: Tensor, image_id: int) -> Places:
        """Read them off a pack's tokens."""
        lengths = torch.bincount(record_T - record_T[0])
        learned_S = (labels_T[1:] != IGNORE).nonzero()[:, 0] + 1
        gap_S = (learned_S.diff() > 1) | (record_T[learned_S].diff() > 0)
        return cls(
            lengths=tuple(lengths.tolist()),
            starts=pad(lengths.cumsum(0), (1, 0)).to(torch.int32),
            image_I=(ids_T == image_id).nonzero()[:, 0],
            keep_S=learned_S - 1,
            labels_S=labels_T[learned_S],
            record_S=record_T[learned_S],
            answer_S=pad(gap_S.long().cumsum(0), (1, 0))[: len(learned_S)],
        )


_P = TypeVar("_P", Pack, Places, Order)


def mapped(held: _P, change: Callable[[Tensor], Tensor]) -> _P:
    """Change every tensor of a pack, its places' too."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(held):
        value = getattr(held, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = change(value)
        elif isinstance(value, Places | Order):
            changed[field.name] = mapped(value, change)  # type: ignore[type-var]
    return dataclasses.replace(held, **changed)


def join(
    records: Sequence[Encoded],
    images: Sequence[Tensor],
    image_size: int,
    features_NPV: Tensor | None = None,
    image_id: int | None = None,
    tiles: tuple[int, ...] = (),
    order: Order | None = None,
    which_N: Tensor | None = None,
) -> Pack:
    """Lay records one behind the other. `images` [N, 3, H, W] uint8 each, or `features_NPV`, in the order of their tags.

    `image_id`: the token that stands for images; with it the pack knows its places. `tiles`: how many are each record's.
    `which_N`: where `images` are those that are not the same as one before.
    """
    lengths = torch.tensor([len(record.ids) for record in records])
    total = int(lengths.sum())
    starts = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    ids_T = torch.tensor([token for record in records for token in record.ids])
    labels_T = torch.tensor([label for record in records for label in record.labels])
    record_T = torch.repeat_interleave(torch.arange(len(records)), lengths)
    return Pack(
        ids_T=ids_T,
        labels_T=labels_T,
        position_T=torch.arange(total) - starts,
        record_T=record_T,
        pixels_N3HW=torch.cat(list(images)) if images else torch.zeros(0, 3, image_size, image_size, dtype=torch.uint8),
        features_NPV=features_NPV,
        tiles=tiles,
        order=order,
        which_N=which_N,
        places=None if image_id is None else Places.of(ids_T, labels_T, record_T, image_id),
    )


def fit(image_HW3: np.ndarray, vision: Vision, image_mode: ImageMode, way: Pixels = "fast") -> Tensor:
    """Bring a decoded image to the encoder's size -> [3, H, W] uint8.

    `square`: as the encoder's own processor (squashed, or short edge and centre crop). `pad`: first pasted on a square of
    the mean colour. Resampling is torch's, antialiased, on uint8 (`fast`: within one grey level of Pillow's nearly
    everywhere), or Pillow's own (`pil`).
    """
    if image_mode == "pad":
        image_HW3 = pad_square(image_HW3, mean_colour(vision))
    image_3HW = torch.from_numpy(image_HW3 if image_HW3.flags.writeable else image_HW3.copy()).permute(2, 0, 1)
    size = vision.image_size
    if not vision.crop:
        return resized(image_3HW, size, size, vision.resample, way)
    height, width = image_3HW.shape[1:]
    short, edge = min(height, width), vision.short_edge or size
    down, across = (max(edge, length * edge // short) for length in (height, width))
    image_3HW = resized(image_3HW, down, across, vision.resample, way)
    top, left = (image_3HW.shape[1] - size) // 2, (image_3HW.shape[2] - size) // 2
    return image_3HW[:, top : top + size, left : left + size].contiguous()


def blank(vision: Vision) -> Tensor:
    """Make an image that shows nothing: the encoder's mean colour -> [3, H, W] uint8."""
    colour = torch.tensor(mean_colour(vision), dtype=torch.uint8)
    return colour[:, None, None].expand(3, vision.image_size, vision.image_size).contiguous()


def normalise(pixels_N3HW: Tensor, vision: Vision, dtype: torch.dtype = torch.float32) -> Tensor:
    """Scale uint8 pixels to the encoder's input -> [N, 3, H, W] of `dtype`, on the device where they are."""
    mean, std = _mean_and_std(vision.mean, vision.std, pixels_N3HW.device)
    return ((pixels_N3HW.to(torch.float32) / 255 - mean) / std).to(dtype)


@cache
def _mean_and_std(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    first, second = (torch.tensor(values, device=device)[:, None, None] for values in (mean, std))
    return first, second


def mean_colour(vision: Vision) -> tuple[int, int, int]:
    """Give the encoder's mean as a colour, cut to whole grey levels as LLaVA's expand2square does."""
    red, green, blue = (int(255 * value) for value in vision.mean)
    return red, green, blue


def pad_square(image_HW3: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Paste an image in the middle of a square of `colour` -> [S, S, 3], S its longer side."""
    height, width = image_HW3.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.empty((side, side, 3), np.uint8)
    rows, row = square.reshape(side, side * 3), np.tile(np.asarray(colour, np.uint8), side)
    for band in (rows[:top], rows[top + height :], rows[:, : left * 3], rows[:, (left + width) * 3 :]):
        band[:] = row[: band.shape[1]]  # whole rows, not pixel by pixel: a tenth of the time
    square[top : top + height, left : left + width] = image_HW3
    return square


def resized(image_3HW: Tensor, height: int, width: int, resample: str, way: Pixels) -> Tensor:
    """Scale an image of bytes -> [3, height, width] uint8. `resample`: bicubic or bilinear; lanczos too, for `pil`."""
    if way == "pil":
        return _resize_pil(image_3HW, height, width, resample)
    if image_3HW.shape[1:] == (height, width):
        return image_3HW.contiguous()
    batch_13HW = image_3HW[None]  # channels-last in memory, which torch's uint8 kernel is fastest on
    return interpolate(batch_13HW, (height, width), mode=resample, antialias=True, align_corners=False)[0].contiguous()


def _resize_pil(image_3HW: Tensor, height: int, width: int, resample: str) -> Tensor:
    how = Image.Resampling[resample.upper()]
    scaled = Image.fromarray(image_3HW.permute(1, 2, 0).numpy()).resize((width, height), how)
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1).contiguous()
