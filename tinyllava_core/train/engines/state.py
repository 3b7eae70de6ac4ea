"""The state from which a killed training goes on: one format for every engine and every number of ranks, safetensors, nothing pickled.

Of each trained parameter its weight and AdamW's two moments, whole or as each rank's shard (torch.distributed.checkpoint knows
which), and how many updates there were. Dropout is drawn from the plan (train/loop.py), so no random numbers are kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException

from tinyllava_core.errors import BadInput

MOMENTS = ("exp_avg", "exp_avg_sq")
UPDATES = "updates"
warnings.filterwarnings("ignore", "torch.distributed is disabled")  # said of each state that one process writes
Moments = Mapping[str, Tensor]  # exp_avg and exp_avg_sq of one parameter


def named(weights: Mapping[str, Tensor], moments: Mapping[str, Moments], updates: Tensor) -> dict[str, Tensor]:
    """Put a state together: tensors under the names that they have in its files."""
    found = {f"weight/{name}": weight.detach() for name, weight in weights.items()}
    for name, of_one in moments.items():
        found |= {f"{moment}/{name}": of_one[moment] for moment in MOMENTS}
    return found | {UPDATES: updates.detach().reshape(1).float()}


def writer(tensors: dict[str, Tensor], folder: Path, group: Any = None) -> Callable[[], None]:
    """Give what writes copied tensors into `folder`: alone, or on all ranks of a process group, each its shards."""

    def write() -> None:
        storage = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
        with _plain_faults():
            dcp.save(tensors, storage_writer=storage, process_group=group, no_dist=group is None)

    return write


def read(tensors: dict[str, Tensor], folder: Path) -> None:
    """Fill tensors, whole ones or shards, in place. Raises BadInput for a state of before this format."""
    if not any(folder.glob("*.safetensors")):
        raise BadInput(
            f"{folder}: a training state as an older version of this package wrote it, which this one cannot go on from; "
            f"delete {folder.parent} to begin the stage anew, or end it with the version that began it"
        )
    with _plain_faults():
        dcp.load(tensors, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=True)


class _plain_faults:
    """Raise what went wrong on some rank itself: the library's own wrapper is no Exception."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if isinstance(error, CheckpointException):
            cause = next(iter(error.failures.values()))[0]
            raise cause if isinstance(cause, OSError) else RuntimeError(f"{type(cause).__name__}: {cause}") from cause


def fresh_moments(parameter: nn.Parameter | Tensor) -> dict[str, Tensor]:
    """Make AdamW's state of a parameter before its first update."""
    value = parameter.detach()
    return {
        "step": torch.zeros((), dtype=torch.float32, device=value.device),
        **{moment: torch.zeros_like(value) for moment in MOMENTS},
    }
