"""Image tokens of pictures seen lately: several questions about one picture cost one run of the encoder. It answers nothing.

Shapes: N images, I tokens of one image, D language width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

P = TypeVar("P")  # a picture, as `encode` takes it

MOST_IMAGES = 128  # kept: 729 tokens of 2,560 numbers in bf16 are 3.7 MB each, 480 MB in all


class Features(Generic[P]):
    """Remembers the image tokens of named pictures, the latest ones."""

    def __init__(self, encode: Callable[[Sequence[P]], Sequence[Tensor]], most_images: int = MOST_IMAGES) -> None:
        """`encode`: pictures -> [I, D] each."""
        self._encode, self._most_images = encode, most_images
        self._kept: OrderedDict[str, Tensor] = OrderedDict()  # [I, D] each

    def of(self, pictures: Sequence[P], names: Sequence[str | None]) -> list[Tensor]:
        """Give the tokens of pictures -> [I, D] each. A picture without a name is encoded each time, and not kept."""
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
        return [found[key] for key in keys]
