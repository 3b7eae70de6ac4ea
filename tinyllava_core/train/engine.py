"""Two backs of one small interface: plain PyTorch (any number of ranks) and DeepSpeed. They know no data and no recipe file.

A step is: for each of this rank's packs `losses(...)` and `backward(loss)`, then once `step()`. The loss is already divided by the supervised
tokens of the whole step over all ranks, so gradients are summed, never averaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """Gradient norms of a step, before clipping."""

    total: float
    by_part: dict[str, float]


class Engine(Protocol):
    """What the loop asks of a back."""

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, to set learning rates on; loading a state replaces them."""

    def losses(self, *pack: Any) -> Tensor:
        """Run `TinyLlava.supervised_losses` on one pack."""

    def measure(self, *pack: Any) -> Tensor:
        """The same, of a pack that is not trained on; called without autograd."""

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add the gradients of one pack; `is_last`: of this rank's last pack in the step."""

    def step(self) -> Norms:
        """Sum over ranks, clip, update, clear -> gradient norms before clipping."""

    def save(self, folder: Path) -> Callable[[], None]:
        """Take the weights that are trained and the optimizer's state; what comes back writes them, at any time later."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""

    def whole(self) -> AbstractContextManager[None]:
        """Hold all weights on every rank while inside, to read them."""


class TorchEngine:
    """Plain PyTorch; with several ranks every rank holds all, and gradients are summed once a step."""

    def __init__(self, model: TinyLlava, groups: list[dict[str, Any]], training: Training) -> None:
        self.model, self.max_grad_norm = model, training.max_grad_norm
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.by_part = trained_by_part(groups)
        self.optimizer = torch.optim.AdamW(groups, betas=training.betas, eps=1e-8)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups as they are now."""
        return list(self.optimizer.param_groups)

    def losses(self, *pack: Any) -> Tensor:
        """Run the model as it is."""
        return self.model.supervised_losses(*pack)

    def measure(self, *pack: Any) -> Tensor:
        """Run the model as it is."""
        return self.model.supervised_losses(*pack)

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add gradients; nothing is sent before `step`."""
        loss.backward()

    def step(self) -> Norms:
        """Sum gradients over ranks, clip, update."""
        for parameter in self.trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if dist.is_initialized():
                dist.all_reduce(parameter.grad)
        parts = {
            part: torch.nn.utils.get_total_norm([p.grad for p in own if p.grad is not None])
            for part, own in self.by_part.items()
        }
        norm = torch.linalg.vector_norm(torch.stack(list(parts.values())))
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.trained, self.max_grad_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Norms(total=float(norm), by_part={part: float(value) for part, value in parts.items()})

    def save(self, folder: Path) -> Callable[[], None]:
        """Rank 0 copies and writes; the other ranks hold the same."""
        if rank() != 0:
            return lambda: None
        weights = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        state = copied({"weights": weights, "optimizer": self.optimizer.state_dict()})
        return lambda: torch.save(state, folder / "state.pt")

    def load(self, folder: Path) -> None:
        """Every rank reads the same file."""
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in state["weights"].items():
                parameters[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])

    def whole(self) -> AbstractContextManager[None]:
        """Every rank holds all of them anyway."""
        return nullcontext()


class PackForward(nn.Module):
    """The model with `supervised_losses` as its forward: DeepSpeed counts micro-batches by calls of forward."""

    def __init__(self, model: TinyLlava) -> None:
        super().__init__()
        self.model = model

    def forward(self, *pack: Any) -> Tensor:
        """Run one pack."""
        return self.model.supervised_losses(*pack)


class DeepSpeedEngine:
    """DeepSpeed ZeRO; its JSON is derived here from the recipe and exists nowhere else."""

    def __init__(self, model: TinyLlava, groups: list[dict[str, Any]], training: Training, launch: Launch) -> None:
        import deepspeed

        self.model, self.stage, self.by_part = model, launch.zero_stage, trained_by_part(groups)
        model.looks_always = (
            self.stage == 3
        )  # a rank that skips the encoder would leave the others waiting for its share
        num_parameters = sum(p.numel() for p in model.parameters())
        optimizer = torch.optim.AdamW(groups, betas=training.betas, eps=1e-8)
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=PackForward(model),
            optimizer=optimizer,
            config=deepspeed_config(training, launch, num_parameters),
            dist_init_required=False,
        )

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups as they are now."""
        return list(self.optimizer.param_groups)

    def losses(self, *pack: Any) -> Tensor:
        """Run through DeepSpeed's own forward, which gathers and counts."""
        losses: Tensor = self.engine(*pack)
        return losses

    def measure(self, *pack: Any) -> Tensor:
        """Run the model below DeepSpeed's counting; what gathers the weights hangs on the modules themselves."""
        losses: Tensor = self.engine.module(*pack)
        return losses

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """DeepSpeed averages over ranks: undo it, the loss is normalised already."""
        self.engine.set_gradient_accumulation_boundary(is_last)
        self.engine.backward(loss * dist.get_world_size(), scale_wrt_gas=False)
        if not is_last:
            self.engine.step()

    def step(self) -> Norms:
        """Clip and update. With one trained part, its norm is the whole; of several DeepSpeed keeps no norms of their own."""
        self.engine.step()
        found = self.engine.get_global_grad_norm()
        norm = float(found) if found is not None else float("nan")
        return Norms(total=norm, by_part=dict.fromkeys(self.by_part, norm) if len(self.by_part) == 1 else {})

    def save(self, folder: Path) -> Callable[[], None]:
        """All ranks write their share, at once: DeepSpeed's own writer wants them together."""
        self.engine.save_checkpoint(str(folder), tag="state", exclude_frozen_parameters=True)
        return lambda: None

    def load(self, folder: Path) -> None:
        """All ranks read their share."""
        self.engine.load_checkpoint(str(folder), tag="state", load_module_strict=False)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather what ZeRO-3 keeps in pieces."""
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(self.model.parameters()), enabled=self.stage == 3):
            yield


def deepspeed_config(training: Training, launch: Launch, num_parameters: int) -> dict[str, Any]:
    """Derive DeepSpeed's configuration from the recipe.

    Buffers are no larger than the model: DeepSpeed's default of 5e8 numbers costs a small model seconds a step.
    """
    bucket = min(500_000_000, num_parameters)
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,  # the boundary is set by hand, packs differ from step to step
        "gradient_clipping": training.max_grad_norm or 0.0,
        "bf16": {"enabled": False},  # arithmetic is chosen by autocast, weights stay fp32
        # Without this section DeepSpeed switches our autocast off in its forward. An empty list: gradients travel in fp32.
        "torch_autocast": {
            "enabled": training.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": launch.zero_stage,
            "overlap_comm": False,
            "contiguous_gradients": True,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_prefetch_bucket_size": bucket,
            **({"offload_optimizer": {"device": "cpu"}} if launch.offload else {}),
            **({"offload_param": {"device": "cpu"}} if launch.offload == "all" else {}),
        },
        "zero_force_ds_cpu_optimizer": False,  # plain AdamW, on whichever side the optimizer is kept
    }


def trained_by_part(groups: list[dict[str, Any]]) -> dict[str, list[nn.Parameter]]:
    """Collect the parameters of an optimizer's groups by the part of the model."""
    found: dict[str, list[nn.Parameter]] = {}
    for group in groups:
        found.setdefault(group["part"], []).extend(group["params"])
    return found


def copied(state: Any) -> Any:
    """Copy every tensor of nested dicts and lists to the CPU's memory, so that training may go on meanwhile."""
    if isinstance(state, Tensor):
        return state.to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    return [copied(value) for value in state] if isinstance(state, list) else state


def start_ranks(device: str) -> None:
    """Join the process group that torchrun or the deepspeed launcher announces in the environment; alone, do nothing."""
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo")


def rank() -> int:
    """Give this process's rank; 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Give the number of ranks; 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1
