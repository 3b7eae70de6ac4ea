"""A tiny model of the real classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import make_parts, tiny_rows

from tinyllava_core import parts
from tinyllava_core.model.assemble import assemble
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.settings.model import Model


@pytest.fixture(scope="session")
def tiny_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    make_parts(folder)
    vision, language = tiny_rows(folder)
    parts.VISIONS["tiny"], parts.LANGUAGES["tiny"] = vision, language
    return folder


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
