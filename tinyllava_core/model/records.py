"""Where the records of a pack lie, and what of its tokens is an image or learned: known before the pack is on a GPU, so that
nothing has to be asked of it. It computes no model.

Shapes: T tokens of a pack, R records, I image tokens of all images, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from tinyllava_core.tokenizer import IGNORE


@dataclass(frozen=True, slots=True)
class Records:
    """Where the records of a pack lie, one behind the other."""

    lengths: tuple[int, ...]  # tokens of each [R]
    starts: Tensor  # int32 [R + 1], on the pack's device: the same as running sums
    longest: int

    @classmethod
    def of(cls, record_T: Tensor) -> Records:
        """Read them off the record number of each token."""
        lengths = torch.unique_consecutive(record_T, return_counts=True)[1]
        return cls.lying(lengths.tolist(), record_T.device)

    @classmethod
    def lying(cls, lengths: Sequence[int], device: torch.device) -> Records:
        """Lay records of these lengths one behind the other."""
        starts = pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(torch.int32)
        return cls(tuple(lengths), starts.to(device), max(lengths))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the model needs to know of a pack besides its tokens."""

    records: Records
    image_I: Tensor  # places of image tokens, in reading order
    keep_S: Tensor  # places whose next token is supervised
    labels_S: Tensor  # that token
    place_I: Tensor | None = (
        None  # which of the tiles' tokens each image token is [I], or between which four [I, 4]; None: as they come
    )
    weight_I: Tensor | None = None  # [I, 4]: how much of each
    which_N: Tensor | None = None  # of each tile in order, which of those that are given it is; None: each is its own
    shapes_N2: Tensor | None = (
        None  # rows and columns of patches of each tile in order [N, 2], where they have any shape
    )

    @classmethod
    def of(cls, ids_T: Tensor, record_T: Tensor, labels_T: Tensor, image_id: int) -> Layout:
        """Read it off a pack's tokens."""
        keep_S = predicts(labels_T).nonzero()[:, 0]
        return cls(
            records=Records.of(record_T),
            image_I=(ids_T == image_id).nonzero()[:, 0],
            keep_S=keep_S,
            labels_S=labels_T[keep_S + 1],
        )


def predicts(labels_T: Tensor) -> Tensor:
    """Mark the places whose next token is supervised -> [T] bool."""
    return torch.cat([labels_T[1:] != IGNORE, labels_T.new_zeros(1, dtype=torch.bool)])
