"""The model that a stage starts from, read once on each machine: its first rank reads, the others receive.

They get the model's build without a byte of weights (meta device), and then the weights tensor by tensor, straight to where they
are to lie: a machine's memory holds one copy of them, however many GPUs it has. It saves nothing.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tinyllava_core.errors import BadInput
from tinyllava_core.model.tinyllava import TinyLlava


def read_once(load: Callable[[], TinyLlava], device: torch.device) -> TinyLlava:
    """Give what `load` gives, which the first rank of each machine calls; the others' lies on `device`.

    Raises what `load` raises, on every rank of that machine.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return load()
    reader, group = _machine()
    told: list[Any] = [None]
    mine: list[Tensor] = []
    model: TinyLlava | None = None
    if dist.get_rank() == reader:
        try:
            model = load()
            told = [built(model, mine)]
        except Exception as fault:
            told = [fault if isinstance(fault, BadInput) else RuntimeError(f"{type(fault).__name__}: {fault}")]
            dist.broadcast_object_list(told, reader, group)
            raise
    dist.broadcast_object_list(told, reader, group)
    if isinstance(told[0], Exception):
        raise told[0]
    if model is None:
        model = rebuilt(told[0], mine, device)
    for tensor in mine:
        sent = tensor.detach().to(device).contiguous()
        dist.broadcast(sent, reader, group)
    return model


def built(model: nn.Module, tensors: list[Tensor]) -> bytes:
    """Write how a model is built, without the bytes of its tensors, which are put into `tensors`, each once."""

    class Build(pickle.Pickler):
        def persistent_id(self, held: Any) -> tuple[int, bool, bool, tuple[int, ...], torch.dtype] | None:
            if not isinstance(held, Tensor):
                return None
            place = places.setdefault(id(held), len(places))
            if place == len(tensors):
                tensors.append(held)
            return place, isinstance(held, nn.Parameter), held.requires_grad, tuple(held.shape), held.dtype

    places: dict[int, int] = {}
    Build(into := io.BytesIO(), pickle.HIGHEST_PROTOCOL).dump(model)
    return into.getvalue()


def rebuilt(build: bytes, tensors: list[Tensor], device: torch.device) -> TinyLlava:
    """Build a model with empty tensors on `device`, which are put into `tensors` in the same order."""

    class Rebuild(pickle.Unpickler):
        def persistent_load(self, told: tuple[int, bool, bool, tuple[int, ...], torch.dtype]) -> Tensor:
            place, is_parameter, requires_grad, shape, dtype = told
            if place == len(tensors):
                empty = torch.empty(shape, dtype=dtype, device=device)
                tensors.append(nn.Parameter(empty, requires_grad) if is_parameter else empty)
            return tensors[place]

    model: TinyLlava = Rebuild(io.BytesIO(build)).load()
    return model


def _machine() -> tuple[int, Any]:
    """Find the first rank of this process's machine, and the group of all its ranks; every rank helps to make every group."""
    local: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(local, int(os.environ.get("LOCAL_RANK", "0")))
    readers = [rank for rank, of_machine in enumerate(local) if of_machine == 0]
    if len(readers) == 1:
        return readers[0], None
    groups = {
        first: dist.new_group(list(range(first, end)))
        for first, end in zip(readers, [*readers[1:], len(local)], strict=True)
    }
    reader = max(first for first in readers if first <= dist.get_rank())
    return reader, groups[reader]
