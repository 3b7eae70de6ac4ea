"""A tiny model of the real classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tinyllava_core.model.assemble import assemble
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.settings.model import Model


@pytest.fixture
def tiny_choice(tiny_parts: Path) -> Model:
    return Model(vision="tiny", language="tiny")


@pytest.fixture
def tiny_model(tiny_choice: Model) -> TinyLlava:
    return assemble(tiny_choice, seed=1).eval()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and lose much on a busy machine."""
    torch.set_num_threads(1)
