"""The processes that train one model together: who I am, how many we are, waiting for each other. Alone, all of it is trivial."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

_TIMEOUT = timedelta(minutes=30)  # rank 0 writes the checkpoint meanwhile; a step's own limit is watch.step_timeout_s


def start_ranks(device: torch.device) -> None:
    """Join the process group that torchrun or the deepspeed launcher announces in the environment; alone, do nothing."""
    if "RANK" in os.environ and not dist.is_initialized():
        if device.type == "cuda":
            dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_TIMEOUT, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=_TIMEOUT)


def rank() -> int:
    """Give this process's rank; 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Give the number of ranks; 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all ranks; alone, go on."""
    if dist.is_initialized():
        dist.barrier()


def any_rank(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Tell of each flag whether any rank has it set, so that all of them do the same."""
    if not dist.is_initialized():
        return list(flags)
    told = torch.tensor([float(flag) for flag in flags], device=device)
    dist.all_reduce(told)
    return [bool(value > 0) for value in told.tolist()]


def united(mine: set[str]) -> set[str]:
    """Give what any rank has."""
    if not dist.is_initialized():
        return mine
    found: list[set[str]] = [set()] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return set().union(*found)
