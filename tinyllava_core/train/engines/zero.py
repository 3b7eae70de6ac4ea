"""DeepSpeed ZeRO. Its JSON is derived here from the recipe and exists nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tinyllava_core.model.lora import LoraLinear
from tinyllava_core.model.tinyllava import Head, TinyLlava
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.training import Training
from tinyllava_core.train.engines import state
from tinyllava_core.train.engines.engine import Norms, trained_by_name, trained_by_part
from tinyllava_core.train.engines.ranks import rank


class PackForward(nn.Module):
    """The model with `supervised_losses` as its forward: DeepSpeed counts micro-batches by calls of forward."""

    def __init__(self, model: TinyLlava) -> None:
        super().__init__()
        self.model = model

    def forward(self, *pack: Any) -> Tensor:
        """Run one pack."""
        return self.model.supervised_losses(*pack)


class DeepSpeedEngine:
    """Steps a model whose moments (1), gradients (2) and weights (3) DeepSpeed shares out."""

    def __init__(self, model: TinyLlava, groups: list[dict[str, Any]], training: Training, launch: Launch) -> None:
        deepspeed = without_compiler()
        self.model, self.stage, self.by_part = model, launch.zero_stage, trained_by_part(groups)
        self.name = f"deepspeed zero-{self.stage}"
        model.looks_always = (
            self.stage == 3
        )  # a rank that skips the encoder would leave the others waiting for its share
        self.trained = trained_by_name(model, groups)
        self.device = next(model.parameters()).device
        num_parameters = sum(p.numel() for p in model.parameters())
        # fused on either side: a GPU's kernel, or with offload the CPU's
        optimizer = torch.optim.AdamW(groups, betas=training.betas, eps=1e-8, fused=True)
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
        """Clip and update."""
        squares = torch.stack([self._square(own) for own in self.by_part.values()])
        dist.all_reduce(squares)
        norms = Norms(by_part=dict(zip(self.by_part, squares.sqrt().tolist(), strict=True)))
        if torch.isfinite(squares.sum()):
            self.engine.step()
        return norms

    def _square(self, own: list[nn.Parameter]) -> Tensor:
        """Sum the squares of this rank's share of some gradients -> []."""
        found = [_share_of_gradient(parameter) for parameter in own]
        norms = [torch.linalg.vector_norm(share).double().to(self.device) for share in found if share is not None]
        return torch.stack(norms).square().sum() if norms else torch.zeros((), dtype=torch.float64, device=self.device)

    def save(self, folder: Path) -> Callable[[], None]:
        """All ranks gather each tensor in turn; rank 0 keeps copies and writes them."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        self._link_moments()
        found: dict[str, Tensor] = {}
        for name, parameter in self.trained.items():
            shares = {"weight": safe_get_full_fp32_param(parameter)}
            shares |= {moment: safe_get_full_optimizer_state(parameter, moment) for moment in state.MOMENTS}
            if rank() == 0:
                shape = getattr(parameter, "ds_shape", parameter.shape)
                found |= {f"{kind}/{name}": full.view(shape).to("cpu", copy=True) for kind, full in shares.items()}
        if rank() != 0:
            return lambda: None
        step = next(iter(self._inner.state.values()))["step"]
        return state.writer(found | {state.UPDATES: torch.as_tensor(step).reshape(1).float().cpu()}, folder)

    def load(self, folder: Path) -> None:
        """Every rank reads the same files, and keeps its share."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        shapes = {name: getattr(p, "ds_shape", p.shape) for name, p in self.trained.items()}
        whole = {name: torch.empty(shape) for name, shape in shapes.items()}
        moments = {name: {moment: torch.empty(shape) for moment in state.MOMENTS} for name, shape in shapes.items()}
        read = state.named(whole, moments, torch.zeros(()))
        state.read(read, folder)
        for flat in self._flat:
            self._inner.state[flat] = state.fresh_moments(flat)
            self._inner.state[flat]["step"] += read[state.UPDATES][0].to(flat.device)
        self._link_moments()
        with torch.no_grad():
            for name, parameter in self.trained.items():
                safe_set_full_fp32_param(parameter, read[f"weight/{name}"].to(self.device))
                for moment in state.MOMENTS:
                    safe_set_full_optimizer_state(parameter, read[f"{moment}/{name}"].to(self.device), moment)
                self._renew(parameter, read[f"weight/{name}"])

    def _link_moments(self) -> None:
        """Tell DeepSpeed's parameters where their moments lie: it does so itself after the first of several groups has stepped,
        when the others have none yet."""
        if self.stage != 3:
            self.optimizer._hp_optimizer_states_linked = False
            self.optimizer._lazy_init_hp_params_optimizer_state()

    def _renew(self, parameter: nn.Parameter, whole: Tensor) -> None:
        """Bring what computes up to what is stepped."""
        if self.stage != 3:
            parameter.copy_(whole)
            return
        share: Tensor = parameter.ds_tensor  # type: ignore[attr-defined]
        first, flat = rank() * share.numel(), whole.flatten()
        mine = flat[first : first + share.numel()].to(share.device)
        share.view(-1)[: len(mine)].copy_(mine)

    @property
    def _inner(self) -> torch.optim.Optimizer:
        found: torch.optim.Optimizer = self.optimizer.optimizer
        return found

    @property
    def _flat(self) -> list[Tensor]:
        """What the inner optimizer steps: this rank's share of all trained weights, end to end."""
        flat = "fp32_partitioned_groups_flat" if self.stage == 3 else "single_partition_of_fp32_groups"
        return list(getattr(self.optimizer, flat))

    def pieces(self) -> dict[str, Tensor]:
        """All of each parameter, or with ZeRO-3 this rank's share."""
        return {name: getattr(p, "ds_tensor", p) for name, p in self.model.named_parameters()}

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather what ZeRO-3 keeps in pieces."""
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(self.model.parameters()), enabled=self.stage == 3):
            yield


def without_compiler() -> Any:
    """Import DeepSpeed so that it compiles nothing at the start -> its module.

    On a CPU it would compile an extension for inference, which training does not use: minutes, with a lock file for which, if that
    is killed, every later start waits for ever; and two environments of one user compile it in turn, each the other's away.
    """
    import deepspeed
    import deepspeed.ops

    vars(deepspeed.ops)["__compatible_ops__"] = {}  # else found out by compiling, when first asked for
    return deepspeed


def _share_of_gradient(parameter: nn.Parameter) -> Tensor | None:
    """Give this rank's share of a summed gradient; None if it has none."""
    if hasattr(parameter, "ds_id"):
        from deepspeed.utils import safe_get_local_grad

        local: Tensor = safe_get_local_grad(parameter)
        return local
    place: Any = parameter._hp_mapping  # type: ignore[attr-defined]
    if place is None:
        return None
    share: Tensor = place.get_lp_grad_fragment(parameter._index_in_param_group)  # type: ignore[attr-defined]
    return share


_MULTIPLYING = [f"{kind.__module__}.{kind.__name__}" for kind in (nn.Linear, nn.Conv2d, Head, LoraLinear)]


def deepspeed_config(training: Training, launch: Launch, num_parameters: int) -> dict[str, Any]:
    """Derive DeepSpeed's configuration from the recipe.

    Buffers are no larger than the model: DeepSpeed's default of 5e8 numbers costs a small model seconds a step.
    """
    bucket = min(500_000_000, num_parameters + num_parameters % 2)  # ZeRO-2 refuses an odd one
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,  # the boundary is set by hand, packs differ from step to step
        "gradient_clipping": training.max_grad_norm or 0.0,
        "communication_data_type": training.gradients_in,
        "bf16": {"enabled": False},  # arithmetic is chosen by autocast, weights stay fp32
        # Without this section DeepSpeed switches our autocast off in its forward. The list: whose gradients travel in bf16.
        "torch_autocast": {
            "enabled": training.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": _MULTIPLYING if training.gradients_in == "bf16" else [],
        },
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": launch.zero_stage,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_prefetch_bucket_size": bucket,
            **({"offload_optimizer": {"device": "cpu"}} if launch.offload else {}),
            **({"offload_param": {"device": "cpu"}} if launch.offload == "all" else {}),
        },
        "zero_force_ds_cpu_optimizer": False,  # plain AdamW, on whichever side the optimizer is kept
    }
