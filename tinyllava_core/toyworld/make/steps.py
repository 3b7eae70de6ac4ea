"""The training loop that both toy backbones share: learning rates and one step. What is learnt it does not know."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn


def schedule(optimizer: torch.optim.Optimizer, num_steps: int, name: str) -> Iterator[int]:
    """Count the steps; warm up over the first 3 %, then cosine to zero; say now and then how long it takes."""
    peak, started = optimizer.param_groups[0]["lr"], time.monotonic()
    warm = max(1, num_steps * 3 // 100)
    for step in range(num_steps):
        fraction = (step + 1) / warm if step < warm else 0.5 * (1 + np.cos(np.pi * (step - warm) / (num_steps - warm)))
        optimizer.param_groups[0]["lr"] = peak * float(fraction)
        yield step
    print(f"{name}: {num_steps} steps in {time.monotonic() - started:.0f} s", flush=True)


def take_step(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter], step: int) -> None:
    """Take one optimizer step, and say the loss now and then."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if step % 100 == 0:
        print(f"  step {step}: loss {loss.item():.3f}", flush=True)
