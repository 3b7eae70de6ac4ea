"""What the plan says about each step besides the packs themselves: whose records they are, and how much work. It reads no shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

_NAMED = 8  # records that a message names


class PlannedSteps:
    """The plan's rows, by step and pack."""

    def __init__(self, plan: Path) -> None:
        self._file = plan / "plan.parquet"
        table = pq.read_table(
            self._file, columns=["step", "pack", "source", "num_tokens", "num_supervised", "num_tiles"]
        )
        source = table["source"].combine_chunks().dictionary_encode()
        self.sources: list[str] = source.dictionary.to_pylist()
        self._source = source.indices.to_numpy()
        self._step, self._pack = table["step"].to_numpy(), table["pack"].to_numpy()
        self._tokens, self._supervised = table["num_tokens"].to_numpy(), table["num_supervised"].to_numpy()
        self._tiles = table["num_tiles"].to_numpy()
        self._first = np.searchsorted(
            self._step, np.arange(int(self._step[-1]) + 2)
        )  # the plan's rows are in its order

    def sources_of(self, step: int, pack: int) -> np.ndarray:
        """Give the source of each record of a pack, as places in `sources` -> [records]."""
        mine = self._rows(step)
        return self._source[mine][self._pack[mine] == pack]

    def supervised_by_source(self, step: int) -> list[int]:
        """Count a step's supervised tokens by source, in the order of `sources`."""
        mine = self._rows(step)
        counts = np.bincount(self._source[mine], weights=self._supervised[mine], minlength=len(self.sources))
        return [int(count) for count in counts]

    def squares(self, step: int) -> int:
        """Sum the squares of the records' lengths: what attention costs."""
        return int((self._tokens[self._rows(step)].astype(np.int64) ** 2).sum())

    def num_tiles(self, step: int) -> int:
        """Count the pictures that the step sends through the encoder: images, or tiles of them."""
        return int(self._tiles[self._rows(step)].sum())

    def first_learned(self, *, with_pictures: bool) -> int | None:
        """Find the first step that learns from a record (with pictures): one that is not void; None: no step does."""
        learned = (self._supervised > 0) & ((self._tiles > 0) | (not with_pictures))
        return int(self._step[learned.argmax()]) if learned.any() else None

    def describe(self, step: int) -> str:
        """Name a step's first records, and how to ask for all of them."""
        ids = pq.read_table(self._file, columns=["step", "record_id"], filters=[("step", "=", step)])[
            "record_id"
        ].to_pylist()
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        return f"its records: {', '.join(ids[:_NAMED])}{more} (SELECT record_id FROM plans WHERE step = {step})"

    def _rows(self, step: int) -> slice:
        return slice(int(self._first[step]), int(self._first[step + 1]))
