"""PyTorch's own sharding (fully_shard): each rank keeps a share of every trained weight, of its gradient and moments.

Frozen weights are whole on every rank. Source: arXiv 2304.11277, and torch.distributed.fsdp's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from tinyllava_core.model.tinyllava import TinyLlava, blocks
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.training import Training
from tinyllava_core.train.engines import state
from tinyllava_core.train.engines.plain import TorchEngine, held, sent_in
from tinyllava_core.train.engines.ranks import rank, world_size


class FsdpEngine(TorchEngine):
    """`keep`: weights are gathered once a step, gradients sent once a step. `reshard`: gathered for each block and let go, and
    gradients sent after every pack: less memory, more messages."""

    def __init__(self, model: TinyLlava, groups: list[dict[str, Any]], training: Training, launch: Launch) -> None:
        self.name, self.keeps = f"fsdp {launch.fsdp}", launch.fsdp == "keep"
        device = next(model.parameters()).device
        part_of = {parameter: name for name, parameter in model.named_parameters()}
        whose = [[part_of[parameter] for parameter in group["params"]] for group in groups]
        self.sharded = shard(model, training, launch, device)
        now = dict(model.named_parameters())
        for group, names in zip(groups, whose, strict=True):
            group["params"] = [now[name] for name in names]
        super().__init__(model, groups, training)
        self.device = device
        self.owners = _owners(model, self.trained)
        self.writers = dist.new_group(
            backend="gloo"
        )  # states are written by threads, beside the training's own messages
        self.mesh_on_cpu = init_device_mesh("cpu", (world_size(),))

    def measure(self, *pack: Any) -> Tensor:
        """Run the model, and let go of the gathered weights."""
        losses = self.model.supervised_losses(*pack)
        self._let_go()
        return losses

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add gradients; send them now, or with the last pack's."""
        root: Any = self.model
        root.set_is_last_backward(is_last)
        if self.keeps:
            root.set_requires_gradient_sync(is_last)
            root.set_reshard_after_backward(is_last)
        loss.backward()

    def sum_gradients(self) -> None:
        """They were summed when they were sent."""

    def sum_squares(self, squares: Tensor) -> None:
        """Each rank has the squares of its share."""
        dist.all_reduce(squares)

    def save(self, folder: Path) -> Callable[[], None]:
        """Every rank copies its share, and writes it."""
        return state.writer({name: self._on_cpu(tensor) for name, tensor in self.state().items()}, folder, self.writers)

    def pieces(self) -> dict[str, Tensor]:
        """This rank's share of what is trained, all of what is frozen."""
        self._let_go()
        return {name: held(parameter) for name, parameter in self.model.named_parameters()}

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Put whole weights in the place of the shares, in the CPU's memory of rank 0: those of a GPU may be too many for it."""
        self._let_go()
        for name, parameter in self.trained.items():
            full = self._on_device(parameter).full_tensor()
            if rank() == 0:
                self._put(name, nn.Parameter(full.detach().cpu()))
        try:
            yield
        finally:
            for name, parameter in self.trained.items():
                self._put(name, parameter)

    def _put(self, name: str, parameter: nn.Parameter) -> None:
        for module, leaf in self.owners[name]:
            module._parameters[leaf] = parameter

    def _let_go(self) -> None:
        for module in self.sharded:
            module.reshard()

    def _on_device(self, share: Tensor) -> DTensor:
        assert isinstance(share, DTensor)
        return _moved(share, share.to_local().detach().to(self.device), share.device_mesh)

    def _on_cpu(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, DTensor):
            return tensor.to("cpu", copy=True)
        return _moved(tensor, tensor.to_local().detach().to("cpu", copy=True), self.mesh_on_cpu)


def shard(model: TinyLlava, training: Training, launch: Launch, device: torch.device) -> list[FSDPModule]:
    """Share the trained weights out, block by block and then the rest -> what was shared.

    Blocks are gathered in the type that their matrices are multiplied in, which autocast would turn them into anyway; embeddings,
    head and connector in their own.
    """
    frozen = {parameter for parameter in model.parameters() if not parameter.requires_grad}
    half, sent = torch.bfloat16 if training.precision == "bf16" else None, sent_in(training)
    mesh = init_device_mesh(device.type, (world_size(),))
    common: dict[str, Any] = {
        "mesh": mesh,
        "reshard_after_forward": launch.fsdp == "reshard",
        "ignored_params": frozen,
        "offload_policy": CPUOffloadPolicy(pin_memory=device.type == "cuda") if launch.offload else OffloadPolicy(),
    }
    for part in (model.model.vision_tower, model.model.language_model):
        for block in blocks(part):
            if any(parameter.requires_grad for parameter in block.parameters()):
                policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=sent, cast_forward_inputs=False)
                fully_shard(block, mp_policy=policy, **common)
    fully_shard(model, mp_policy=MixedPrecisionPolicy(reduce_dtype=sent, cast_forward_inputs=False), **common)
    register_fsdp_forward_method(model, "supervised_losses")
    shared = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in shared:  # the loss is a sum already, over the tokens of all ranks
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
    return shared


def _owners(model: nn.Module, trained: dict[str, nn.Parameter]) -> dict[str, list[tuple[nn.Module, str]]]:
    """Find every place of each parameter: one that is tied has two."""
    names = {parameter: name for name, parameter in trained.items()}
    found: dict[str, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for leaf, parameter in module._parameters.items():
            if parameter in names:
                found.setdefault(names[parameter], []).append((module, leaf))
    return found


def _moved(share: DTensor, local: Tensor, mesh: Any) -> DTensor:
    return DTensor.from_local(local, mesh, share.placements, run_check=False, shape=share.shape, stride=share.stride())
