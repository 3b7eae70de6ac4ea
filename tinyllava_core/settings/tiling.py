"""Section `model.tiling` of a recipe: how the modes that cut a picture do it. It cuts nothing: parts/picture.py does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from tinyllava_core.errors import BadInput
from tinyllava_core.frozen import Frozen
from tinyllava_core.parts import Shape, Vision
from tinyllava_core.parts.picture import NEXT_GRIDS, ImageMode, Like, Scheme

_TILES_OF_LONG_SIDE = 4  # Source: nanoVLM and SmolVLM-256M, 2048 pixels of tiles of 512
_MOST_TILES = 12  # Source: InternVL2 and later, GotOcr2ImageProcessor's default
_READ: dict[ImageMode, tuple[str, ...]] = {
    "square": (),
    "pad": (),
    "anyres": ("grids", "max_tiles"),
    "tiles": ("long_side", "upscale", "like"),
    "dynamic": ("min_tiles", "max_tiles", "whole"),
    "native": ("max_patches",),
}
# Connectors that take each patch, or each window of them, alone: a picture's shape is nothing to them.
_ANY_SHAPE = ("mlp", "linear", "identity", "pixel-shuffle", "pixel-shuffle-linear", "average-pool")


class Tiling(Frozen):
    """How pictures are cut. A field that the `image_mode` does not read has to stay null."""

    long_side: int | None = Field(
        None,
        ge=16,
        description="tiles: pixels of the longer side that a picture is scaled to, a multiple of the tile. null: four tiles.",
    )
    upscale: bool | None = Field(
        None,
        description="tiles: whether smaller pictures too get that long side. null: yes, as nanoVLM and SmolVLM do.",
    )
    like: Like | None = Field(
        None,
        description="tiles: whose marks, rounding and order. nanovlm: the whole picture first; smolvlm: last, and a line's end "
        "behind each row. null: nanovlm.",
    )
    min_tiles: int | None = Field(None, ge=1, description="dynamic: at least so many tiles beside the whole. null: 1.")
    max_tiles: int | None = Field(
        None,
        ge=1,
        description="dynamic: at most so many tiles beside the whole; null: 12, as InternVL2. anyres: a larger map of tokens is "
        "made smaller to so many tiles' (LLaVA-OneVision: 9); null: never.",
    )
    whole: bool | None = Field(
        None, description="dynamic: whether the whole picture comes behind its tiles. null: yes, as InternVL2."
    )
    grids: tuple[tuple[int, int], ...] | None = Field(
        None,
        min_length=1,
        description="anyres: rows x columns of tiles to choose from; on a tie the first. null: LLaVA-NeXT's five.",
    )
    max_patches: int | None = Field(
        None,
        ge=1,
        description="native: a picture is scaled to at most so many patches, a square number; SigLIP 2 NaFlex was trained with 256, "
        "576, 784 and 1024 (and 128). null: as many as a square picture of the encoder's size has.",
    )
    max_record_tiles: int | None = Field(
        None,
        ge=1,
        description="A record whose pictures have more tiles than this is not trained on, under the reason `too_many_tiles`. "
        "null: max_length alone limits them.",
    )

    def scheme(self, mode: ImageMode, vision: Vision, shape: Shape) -> Scheme:
        """Resolve this for an encoder and a connector. Raises BadInput for what does not fit together."""
        for field in sorted(set(self.model_fields_set) - {"max_record_tiles"} - set(_READ[mode])):
            if getattr(self, field) is not None:
                raise BadInput(
                    f"tiling.{field} = {getattr(self, field)} has no effect with image_mode {mode!r}: remove it"
                )
        tile, side = vision.image_size, shape.side
        if mode in ("tiles", "anyres", "dynamic") and vision.crop and vision.short_edge not in (None, tile):
            raise BadInput(
                f"image_mode {mode!r}: this encoder's pictures are scaled to {vision.short_edge} pixels and cropped to {tile}, so "
                "tiles would overlap; use another encoder"
            )
        if mode == "anyres" and side is None:
            raise BadInput(
                f"image_mode 'anyres' needs image tokens on a square, connector {shape.kind!r} here gives {shape.num_tokens} that "
                "do not lie on one; use image_mode tiles or dynamic, or connector mlp"
            )
        if mode == "native":
            return _native(vision, shape)
        return Scheme(
            mode=mode,
            tile=tile,
            tokens=shape.num_tokens,
            side=side if mode == "anyres" else None,
            grids=(self.grids or NEXT_GRIDS) if mode == "anyres" else (),
            max_tiles=(self.max_tiles or _MOST_TILES) if mode == "dynamic" else self.max_tiles,
            min_tiles=self._least(),
            whole=self.whole is not False,
            long_side=self._long_side(tile) if mode == "tiles" else 0,
            upscale=self.upscale is not False,
            like=self.like or "nanovlm",
        )

    def _least(self) -> int:
        least, most = self.min_tiles or 1, self.max_tiles or _MOST_TILES
        if least > most:
            raise BadInput(f"tiling.min_tiles = {least} is more than tiling.max_tiles = {most}")
        return least

    def _long_side(self, tile: int) -> int:
        found = self.long_side or _TILES_OF_LONG_SIDE * tile
        if found % tile:
            raise BadInput(f"tiling.long_side = {found}: expected a multiple of the encoder's {tile} pixels")
        return found


def _native(vision: Vision, shape: Shape) -> Scheme:
    if shape.kind not in _ANY_SHAPE:
        raise BadInput(
            f"image_mode 'native': connector {shape.kind!r} looks at all patches of a square; expected one that takes each patch or "
            f"window alone: {', '.join(_ANY_SHAPE)}"
        )
    window = vision.patch_size * (shape.shrink or 1)
    return Scheme(mode="native", tile=window, tokens=1, max_windows=shape.num_tokens, patch=vision.patch_size)


def tiling_of(scheme: Mapping[str, Any]) -> dict[str, Any]:
    """Give the section `model.tiling` of a scheme that a checkpoint remembers."""
    if scheme["mode"] == "native":
        return {"max_patches": scheme["max_windows"] * (scheme["tile"] // scheme["patch"]) ** 2}
    return {field: scheme[field] for field in _READ[scheme["mode"]] if scheme.get(field) not in (None, [], ())}
