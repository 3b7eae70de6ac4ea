"""A record as the model reads it: tokens, places of images, what is learned; to be looked at. It decides nothing.

The ids are those of plan and training (prompt.py), cut where they cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from tinyllava_core.data.plan.part import encoded, tokenizer_of, voided
from tinyllava_core.data.plan.picture_ids import tiles_of
from tinyllava_core.data.plan.plan import plan_spec
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import Recipe
from tinyllava_core.tokenizer import IGNORE, Tokenizer

_LONGEST_CHARACTER = 4  # bytes, so at most as many tokens
_WINDOW = 32  # tokens that are decoded together: a long record costs no square
Kind = Literal["read", "image", "learned", "cut off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens of one kind that follow each other."""

    kind: Kind
    tokens: tuple[str, ...]  # the text of each; a character that several tokens make stands with its last


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the model is given of one record."""

    pieces: tuple[Piece, ...]
    fault: str | None  # why it cannot be trained on: a reason of the plan's voided.parquet

    def count(self, *kinds: Kind) -> int:
        """Count the tokens of these kinds."""
        return sum(len(piece.tokens) for piece in self.pieces if piece.kind in kinds)

    @property
    def told(self) -> str:
        """Say it in numbers."""
        words = [f"{self.count('read', 'image', 'learned')} tokens", f"{self.count('image')} of images"]
        words.append(f"{self.count('learned')} learned")
        words += [f"{cut} cut off"] if (cut := self.count("cut off")) else []
        return ", ".join([*words, f"cannot be trained on: {self.fault}"] if self.fault else words)


class Reader:
    """Reads records as one stage of a recipe does. Raises BadInput if the tokenizer cannot be had."""

    def __init__(self, recipe: Recipe, stage: str) -> None:
        self._spec = plan_spec(recipe, stage)
        self._tokenizer = tokenizer_of(self._spec)

    def read(self, turns: Sequence[Turn], sizes: Sequence[tuple[int, int]] | None = None) -> Reading:
        """Read one conversation; `sizes`: (width, height) of its pictures. None: each is read as any other of its recipe."""
        longest = self._spec.max_length
        mine = [(1, 1)] * sum(turn.text.count(IMAGE_TAG) for turn in turns) if sizes is None else sizes
        (whole,) = encoded([turns], [mine], self._spec, self._tokenizer)
        kinds = [self._kind(*both, at >= longest) for at, both in enumerate(zip(whole.ids, whole.labels, strict=True))]
        tokens = zip(kinds, texts(self._tokenizer, whole.ids), strict=True)
        pieces = [
            Piece(kind=kind, tokens=tuple(text for _, text in mine))
            for kind, mine in groupby(tokens, lambda one: one[0])
        ]
        return Reading(
            pieces=tuple(pieces), fault=voided(whole, len(mine), tiles_of(self._spec.scheme, mine), self._spec)
        )

    def _kind(self, token: int, label: int, cut: bool) -> Kind:
        if cut:
            return "cut off"
        return kind_of(token, label, self._tokenizer.image_id)


def kind_of(token: int, label: int, image_id: int) -> Kind:
    """Say what is done with a token of a sequence."""
    if token == image_id:
        return "image"
    return "read" if label == IGNORE else "learned"


def texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Give the text of each token, as it adds to the text of those before it."""
    found: list[str] = []
    start, whole, before = 0, 0, ""
    for end in range(1, len(ids) + 1):
        now = tokenizer.decode(ids[start:end], keep_special=True)
        if now.endswith("\ufffd") and end - whole < _LONGEST_CHARACTER and end < len(ids):
            found.append("")  # a part of a character, which the next token may make whole
            continue
        found.append(now[len(before) :])
        before, last, whole = now, whole, end
        if end - start > _WINDOW:
            start, before = last, tokenizer.decode(ids[last:end], keep_special=True)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One place of a plan."""

    record_id: str
    source: str
    step: int
    pack: int
    slot: int
    num_records: int  # of the whole plan
    turns: tuple[Turn, ...]
    sizes: Sequence[tuple[int, int]]  # width and height of each picture


def planned(plan: Path, shards: Path, which: str) -> Planned:
    """Give a record of a plan by its number in the order of training, from 0, or by its id.

    Raises BadInput if the plan has no such record.
    """
    table = pq.read_table(plan / "plan.parquet", columns=["record_id", "source", "step", "pack", "slot", "position"])
    number = int(which) if which.isdecimal() else _place(table["record_id"].to_pylist(), which)
    if not 0 <= number < len(table):
        raise BadInput(
            f"--record {which}: this plan has {len(table):,} records, 0 to {len(table) - 1}; expected one of them, or an id such as {table['record_id'][0]}"
        )
    row = table.slice(number, 1).to_pylist()[0]
    reader = ShardReader(shards)
    at = int(np.flatnonzero(reader.positions == row.pop("position"))[0])
    turns, sizes = reader.told(at)
    return Planned(num_records=len(table), turns=turns, sizes=sizes, **row)


def _place(ids: list[str], which: str) -> int:
    return ids.index(which) if which in ids else -1
