"""When a GPU's memory is not enough for a pack: halve every pack, once, and go on from the last state. It estimates nothing.

A pack's records do not see each other and the loss is a sum over tokens, so halves give the gradients of the whole.
"""

from __future__ import annotations

import torch

from tinyllava_core.data.tensors.example import Pack, Places
from tinyllava_core.errors import BadInput
from tinyllava_core.job import HALVED_PACKS, TrainJob

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed now


class OutOfMemory(RuntimeError):
    """This life of the training ends; the next one has halved packs."""


def note(job: TrainJob, error: torch.OutOfMemoryError) -> OutOfMemory:
    """Halve the packs of the next life -> the end of this one. Raises BadInput if they were halved already."""
    first = str(error).split(". ")[0]
    if job.has_halved_packs:
        raise BadInput(
            f"out of memory, even with packs of half the size ({first}); lower max_length, set gradient_checkpointing, "
            "raise launch.zero_stage, set launch.offload, or take more GPUs"
        )
    (job.out / HALVED_PACKS).touch()
    return OutOfMemory(f"out of memory ({first}): goes on from the last state with packs of half the size")


def halves(pack: Pack, image_id: int) -> list[tuple[Pack, bool]]:
    """Cut a pack between two records, near its middle -> two packs; that of a single record comes twice, to count once.

    Two for every pack: all ranks run equally many.
    """
    starts = (pack.position_T == 0).nonzero()[:, 0].tolist()
    if len(starts) == 1:
        return [(pack, True), (pack, False)]
    cut = min(starts[1:], key=lambda start: abs(start - len(pack.ids_T) / 2))
    records = slice(0, starts.index(cut)), slice(starts.index(cut), None)
    first = sum(pack.tiles[records[0]])
    num_tiles, image_tokens = sum(pack.tiles), int((pack.ids_T[:cut] == image_id).sum())
    return [
        (_part(pack, slice(0, cut), records[0], slice(0, first), slice(0, image_tokens), image_id), True),
        (_part(pack, slice(cut, None), records[1], slice(first, num_tiles), slice(image_tokens, None), image_id), True),
    ]


def _part(pack: Pack, tokens: slice, records: slice, images: slice, places: slice, image_id: int) -> Pack:
    ids_T, labels_T, record_T = pack.ids_T[tokens], pack.labels_T[tokens], pack.record_T[tokens]
    return Pack(
        ids_T=ids_T,
        labels_T=labels_T,
        position_T=pack.position_T[tokens],
        record_T=record_T,
        places=Places.of(ids_T, labels_T, record_T, image_id),
        pixels_N3HW=pack.every_pixel[images],
        tiles=pack.tiles[records],
        order=None if pack.order is None else pack.order.part(places, images),
        features_NPV=None if pack.features_NPV is None else pack.features_NPV[images],
    )
