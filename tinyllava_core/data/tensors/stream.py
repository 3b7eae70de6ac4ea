"""The packs of a plan, read from the shards in the plan's order. It decides nothing: order and packing are the plan's.

A pack is named by (step, number of the pack in the step): any rank can read any pack, so resuming is a step number.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tinyllava_core.data.plan.pack import deal
from tinyllava_core.data.plan.picture_ids import picture_ids, tiles_of
from tinyllava_core.data.plan.prompt import encode
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.data.tensors.example import Pack, join
from tinyllava_core.data.tensors.features import Features
from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.data.tensors.tiles import opened
from tinyllava_core.errors import BadInput
from tinyllava_core.parts import Vision
from tinyllava_core.parts.picture import Scheme
from tinyllava_core.settings.model import Pixels
from tinyllava_core.settings.writing import Writing
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer
from tinyllava_core.workers import SHARED, cannot_share

_STEPS_AHEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How records become tensors: what the plan was made with."""

    tokenizer_folder: Path
    prompt: str
    max_length: int
    vision: Vision
    scheme: Scheme
    pixels: Pixels = "fast"
    writing: Writing = field(default_factory=Writing)


class PlannedPacks(Dataset[Pack]):
    """Every pack of a plan, by (step, number)."""

    def __init__(self, shards: Path, plan: Path, reading: Reading, features: Path | None = None) -> None:
        self.reader = ShardReader(shards)
        self.features = Features(shards, features) if features else None
        self.reading = reading
        self.tokenizer: Tokenizer | None = None
        steps = pq.read_table(plan / "steps.parquet")
        self.num_packs: list[int] = steps["num_packs"].to_pylist()
        self.num_records: list[int] = steps["num_records"].to_pylist()
        self.num_tokens: list[int] = steps["num_tokens"].to_pylist()
        self.num_supervised: list[int] = steps["num_supervised"].to_pylist()
        columns = ["step", "pack", "position", "num_tokens", "num_supervised"]
        with pq.ParquetFile(plan / "plan.parquet") as file:
            voids = ["void"] if "void" in file.schema_arrow.names else []
            table = file.read(columns=columns + voids)
        self._planned = {name: table[name].to_numpy() for name in table.column_names}
        row_of_position = np.full(int(self.reader.positions.max()) + 1, -1, np.int64)
        row_of_position[self.reader.positions] = np.arange(len(self.reader))
        self._rows = row_of_position[self._planned["position"]]
        packs_before = np.concatenate([[0], np.cumsum(self.num_packs)])
        pack_number = packs_before[self._planned["step"]] + self._planned["pack"]
        self._packs_before = packs_before
        self._starts = np.searchsorted(pack_number, np.arange(packs_before[-1] + 1))
        self._pack_tokens = np.add.reduceat(self._planned["num_tokens"], self._starts[:-1], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._packs_before[-1])

    def pack_tokens(self, step: int) -> np.ndarray:
        """Give the length of each pack of a step -> [packs], longest first."""
        return self._pack_tokens[self._packs_before[step] : self._packs_before[step + 1]]

    def __getitem__(self, key: tuple[int, int]) -> Pack:  # type: ignore[override]
        step, number = key
        which = int(self._packs_before[step]) + number
        places = range(int(self._starts[which]), int(self._starts[which + 1]))
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(self.reading.tokenizer_folder, self.reading.scheme.marks)
        rows, scheme = [int(self._rows[place]) for place in places], self.reading.scheme
        turns, sizes = zip(*map(self.reader.told, rows), strict=True)
        images = [picture_ids(scheme, one, self.tokenizer) for one in sizes]
        found = encode(turns, self.reading.prompt, self.tokenizer, images, self.reading.writing)
        records = [record.cut(self.reading.max_length) for record in found]
        if "void" in self._planned:
            voids = self._planned["void"][places.start : places.stop]
            records = [record.unlearned() if void else record for record, void in zip(records, voids, strict=True)]
        for place, record in zip(places, records, strict=True):
            planned = (int(self._planned["num_tokens"][place]), int(self._planned["num_supervised"][place]))
            assert (len(record.ids), record.num_supervised) == planned, f"plan and tokens disagree at position {place}"
        pixels, which_N = ([], None) if self.features else self._seen(rows, sizes)
        return join(
            records,
            pixels,
            self.reading.vision.image_size,
            self.features.of(rows) if self.features else None,
            image_id=self.tokenizer.image_id,
            tiles=tuple(tiles_of(scheme, one) for one in sizes),
            order=order_of(scheme, [size for one in sizes for size in one]),
            which_N=which_N,
        )

    def _seen(
        self, rows: Sequence[int], sizes: Sequence[Sequence[tuple[int, int]]]
    ) -> tuple[list[Tensor], Tensor | None]:
        """Open a pack's pictures, each once -> their tiles, and which of these each tile in order is; None: each its own."""
        opened: dict[int, tuple[int, Tensor]] = {}  # a picture's name -> its first tile's number, its tiles
        which, total = list[Tensor](), 0
        for row, mine in zip(rows, sizes, strict=True):
            for name, image, size in zip(self.reader.image_names(row), self.reader.images(row), mine, strict=True):
                if name not in opened:
                    opened[name] = total, self._opened(image, size)
                    total += len(opened[name][1])
                first, tiles_N3HW = opened[name]
                which.append(torch.arange(first, first + len(tiles_N3HW)))
        pixels = [tiles_N3HW for _, tiles_N3HW in opened.values()]
        return pixels, None if len(which) == len(pixels) else torch.cat(which)

    def _opened(self, image: bytes, size: tuple[int, int]) -> Tensor:
        tiles_N3HW = opened(image, self.reading.vision, self.reading.scheme, self.reading.pixels)
        assert len(tiles_N3HW) == self.reading.scheme.cut(*size).num_tiles, (
            f"a picture is not of {size} pixels, as its record says"
        )
        return tiles_N3HW


def rank_packs(packs: PlannedPacks, step: int, rank: int, world_size: int) -> list[tuple[int, bool]]:
    """Deal a step's packs to one rank -> [(number, counts)]. Every rank gets equally many, and nearly the same work."""
    return deal(packs.pack_tokens(step), world_size)[rank]


def stream(
    packs: PlannedPacks, first_step: int, rank: int, world_size: int, workers: int, pin: bool = False
) -> Iterator[list[tuple[Pack, bool]]]:
    """Give one rank's packs of each step from `first_step` on, read ahead by worker processes.

    A thread takes the next steps' packs out of the workers' hands while this one trains: that costs milliseconds a pack.
    `pin`: into memory that a GPU fetches from by itself. Where processes cannot hand anything over, this one reads alone, and says so.
    Raises BadInput if a worker was ended, or had no room for a pack: what it had would be waited for without end.
    """
    workers = possible(workers)
    dealt = [rank_packs(packs, step, rank, world_size) for step in range(first_step, len(packs.num_packs))]
    keys = [(step, number) for step, numbers in enumerate(dealt, first_step) for number, _ in numbers]
    loader = DataLoader(
        packs,
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=begin_worker,
        multiprocessing_context="fork" if workers else None,
        pin_memory=pin,
    )
    arriving = iter(loader)  # forks the workers, before there is a thread

    def take(numbers: list[tuple[int, bool]]) -> list[tuple[Pack, bool]]:
        try:
            with lost_workers_told():
                return [(next(arriving), counts) for _, counts in numbers]
        except BadInput as error:  # from a worker it comes with the worker's traceback in its text
            raise BadInput(str(error).strip().rpartition("BadInput: ")[2]) from None

    if not workers:
        yield from map(take, dealt)
        return
    with ThreadPoolExecutor(1, "packs") as ahead:
        taken = deque(ahead.submit(take, numbers) for numbers in dealt[:_STEPS_AHEAD])
        for place in range(len(dealt)):
            ready = taken.popleft().result()
            if place + _STEPS_AHEAD < len(dealt):
                taken.append(ahead.submit(take, dealt[place + _STEPS_AHEAD]))
            yield ready


def possible(workers: int) -> int:
    """Give the number of worker processes that this machine can have: as many as asked for, or none, which is said."""
    if not workers or (why := cannot_share()) is None:
        return workers
    print(
        f"note: {why}: pictures are read in the training process itself, which is slower", file=sys.stderr, flush=True
    )
    return 0


@contextmanager
def lost_workers_told() -> Iterator[None]:
    """Raise BadInput where the data loader tells of a worker's end; its signal comes anywhere in the main thread."""
    try:
        yield
    except RuntimeError as error:
        if (lost := lost_worker(error)) is None:
            raise
        raise lost from None


def lost_worker(error: RuntimeError) -> BadInput | None:
    """Say what a worker's end means, if that is what the data loader tells."""
    if not str(error).startswith("DataLoader worker"):
        return None
    return BadInput(
        f"a process that reads pictures ahead was ended ({str(error).split('. ')[0]}): by the kernel for want of memory, or for want of "
        f"room in {SHARED}, where it hands them over; give it more (docker run --shm-size=8g), or set data_workers to 0 for the stage; "
        "the same command goes on"
    )


def begin_worker(_: int) -> None:
    """Keep a forked worker from threads: those that its parent had started are not there, and waiting for them is for ever.

    And end it where it cannot hand a pack over: Python's queue would let the pack go, and whoever waits for it would wait for ever.
    """
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: Exception, _: object) -> None:
    print(f"a pack could not be handed over: {error}", file=sys.stderr, flush=True)
    os._exit(1)
