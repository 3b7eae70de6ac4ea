"""The learning rate as a function of the step: a warm-up, then cosine, linear, constant, or constant and down. No state to save."""

from __future__ import annotations

import math

from tinyllava_core.settings.training import Training


def lr_factor(training: Training, part: str, step: int, num_steps: int) -> float:
    """Give the factor on a part's peak learning rate for optimizer step `step`, counted from 0.

    Source: transformers' get_cosine_schedule_with_warmup, whose warm-up of ceil(fraction * steps) starts from zero and whose
    first step therefore has rate 0; ours counts that step as 1, so that no step is spent on nothing.
    """
    warmup = math.ceil(training.warmup_of(part) * num_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if training.decay_fraction is not None:
        decay = max(1, round(training.decay_fraction * num_steps))
        fallen = max(0.0, (step - (num_steps - decay)) / decay)
        return _down(
            training, 1.0 - math.sqrt(fallen)
        )  # Source: arXiv 2405.18392, section 3.2: better than a straight line
    passed = (step - warmup) / max(1, num_steps - warmup)
    if training.schedule == "constant":
        return 1.0
    return _down(training, 1.0 - passed if training.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * passed)))


def _down(training: Training, left: float) -> float:
    """Go from 1 to the final rate, where `left` goes from 1 to 0. Source: nanoVLM, train.py, get_lr."""
    return training.final_lr_fraction + (1.0 - training.final_lr_fraction) * left
