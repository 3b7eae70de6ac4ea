"""The mean of a stage's last weights, as a recipe's `average` asks for it. It steps nothing.

After each step that counts, the weights are written beside the ledger before the next step begins: a killed run finds those of all
steps before the one that it goes on with, and takes the others again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput
from tinyllava_core.job import TrainJob
from tinyllava_core.settings.training import Average
from tinyllava_core.train.engines.ranks import barrier, rank


class Averaged:
    """The weights that the mean is of: average/step-N.safetensors in a training's folder, until it ends."""

    def __init__(self, asked: Average, model: nn.Module, num_steps: int, out: Path, stage: str) -> None:
        self._model, self._home = model, out / "average"
        self._names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.steps = [num_steps - 1 - place * asked.every for place in range(asked.count)][::-1]
        if self.steps[0] < 0:
            needed = (asked.count - 1) * asked.every + 1
            raise BadInput(
                f"{stage}.average: {asked.count} weights, one every {asked.every} steps, need {needed} steps, and the stage has "
                f"{num_steps}; lower average.count or average.every"
            )

    @classmethod
    def of(cls, job: TrainJob, model: nn.Module, num_steps: int) -> Averaged | None:
        """Begin a job's mean; None if its stage asks for none. Raises BadInput if the stage has too few steps."""
        asked = job.recipe.training(job.stage).average
        return cls(asked, model, num_steps, job.out, job.stage) if asked else None

    def take(self, step: int, whole: Callable[[], AbstractContextManager[None]]) -> None:
        """Keep the trained weights as they are after `step`, if it counts; all ranks ask. `whole`: the engine's."""
        if step not in self.steps:
            return
        with whole():
            if rank() == 0:
                held = dict(self._model.named_parameters())
                self._home.mkdir(exist_ok=True)
                aside = self._home / ".partial"
                save_file({name: held[name].detach().cpu().contiguous() for name in self._names}, aside)
                publish(aside, self._file(step))
        barrier()

    def put(self) -> None:
        """Put the mean into the model, a tensor at a time, summed in float64. Rank 0 calls it where it holds whole weights."""
        held, files = dict(self._model.named_parameters()), [self._file(step) for step in self.steps]
        put_mean({name: held[name] for name in self._names}, files, [1] * len(files))

    def _file(self, step: int) -> Path:
        return self._home / f"step-{step:08d}.safetensors"


@torch.no_grad()
def put_mean(held: Mapping[str, Tensor], files: Sequence[Path], weights: Sequence[float]) -> None:
    """Put the weighted mean of some safetensors files into tensors, by the names in the files; one at a time, summed in float64."""
    for name, tensor in held.items():
        total = torch.zeros(tensor.shape, dtype=torch.float64)
        for file, weight in zip(files, weights, strict=True):
            if weight:
                with safe_open(file, "pt") as kept:
                    total.add_(kept.get_tensor(name).double(), alpha=weight)
        tensor.copy_(total / sum(weights))
