"""The ids that stand for a picture in a sequence: its image tokens, and the marks that say where each tile lies. It opens no picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinyllava_core.parts.picture import NANO_WHOLE, SMOL_AROUND, SMOL_WHOLE, Cut, Scheme, place_mark
from tinyllava_core.tokenizer import Tokenizer


def picture_ids(scheme: Scheme, sizes: Sequence[tuple[int, int]], tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Give the ids of pictures of these sizes (width, height), as many image tokens each as its cut says."""
    if scheme.mode != "tiles":
        return [(tokenizer.image_id,) * scheme.cut(*size).tokens for size in sizes]
    write = _nano if scheme.like == "nanovlm" else _smol
    return [tuple(write(scheme, scheme.cut(*size), tokenizer)) for size in sizes]


def tiles_of(scheme: Scheme | None, sizes: Sequence[tuple[int, int]]) -> int:
    """Count the tiles that pictures of these sizes become. No scheme: one each."""
    return len(sizes) if scheme is None else sum(scheme.cut(*size).num_tiles for size in sizes)


def _nano(scheme: Scheme, cut: Cut, tokenizer: Tokenizer) -> Iterator[int]:
    """Source: nanoVLM, data/processors.py, get_image_string: a single tile bears the mark of the whole."""
    tile = (tokenizer.image_id,) * scheme.tokens
    yield from (_mark(NANO_WHOLE, tokenizer), *tile)
    if cut.whole is not None:
        for row in range(1, cut.rows + 1):
            for column in range(1, cut.columns + 1):
                yield from (_mark(place_mark(row, column), tokenizer), *tile)


def _smol(scheme: Scheme, cut: Cut, tokenizer: Tokenizer) -> Iterator[int]:
    """Source: transformers, Idefics3Processor, get_image_prompt_string."""
    tile, around = (tokenizer.image_id,) * scheme.tokens, _mark(SMOL_AROUND, tokenizer)
    if cut.whole is not None:
        for row in range(1, cut.rows + 1):
            for column in range(1, cut.columns + 1):
                yield from (around, _mark(place_mark(row, column), tokenizer), *tile)
            yield from tokenizer.encode_many(["\n" if row < cut.rows else "\n\n"], ["behind_token"])[0]
    yield from (around, _mark(SMOL_WHOLE, tokenizer), *tile, around)


def _mark(name: str, tokenizer: Tokenizer) -> int:
    found = tokenizer.token_id(name)
    assert found is not None, f"the tokenizer was loaded without the scheme's marks: no {name}"
    return found
