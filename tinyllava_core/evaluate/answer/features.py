"""Image tokens of pictures seen lately: several questions about one picture cost one run of the encoder. It answers nothing.

Shapes: N images, K tokens of one image, D language width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_IMAGES = 128  # kept: 729 tokens of 2,560 numbers in bf16 are 3.7 MB each, 480 MB in all


class Features:
    """Remembers the image tokens of named pictures, the latest ones."""

    def __init__(self, encode: Callable[[Sequence[Tensor]], Tensor], most_images: int = MOST_IMAGES) -> None:
        """`encode`: pictures [3, H, W] uint8 each -> [N, K, D]."""
        self._encode, self._most_images = encode, most_images
        self._kept: OrderedDict[str, Tensor] = OrderedDict()  # [K, D] each

    def of(self, pictures: Sequence[Tensor], names: Sequence[str | None]) -> Tensor:
        """Give the tokens of pictures -> [N, K, D]. A picture without a name is encoded each time, and not kept."""
        keys = [name if name is not None else place for place, name in enumerate(names)]
        found: dict[str | int, Tensor] = {}
        for key in keys:
            if isinstance(key, str) and key in self._kept:
                self._kept.move_to_end(key)
                found[key] = self._kept[key]
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in found}
        if new:
            found |= zip(new, self._encode(list(new.values())), strict=True)
        for key in new:
            if isinstance(key, str):
                self._kept[key] = found[key].clone()  # not a view, which would keep the whole batch
        while len(self._kept) > self._most_images:
            self._kept.popitem(last=False)
        return torch.stack([found[key] for key in keys])
