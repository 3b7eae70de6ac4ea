"""A tiny checkpoint with loud random weights, and pictures of noise: enough to ask, too little to be right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import make_parts, png, tiny_rows


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the checkpoint, where a trained stage would leave it, once."""
    import torch

    from tinyllava_core.model import checkpoint
    from tinyllava_core.model.assemble import assemble
    from tinyllava_core.parts import LANGUAGES, VISIONS
    from tinyllava_core.settings.model import Model

    torch.set_num_threads(1)  # more only wait for each other on so little work
    home = tmp_path_factory.mktemp("world")
    make_parts(home)
    vision, language = tiny_rows(home)
    folder = home / "sft" / "0123456789abcdef" / "checkpoint"
    folder.parent.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VISIONS, "test-vit", vision)
        patch.setitem(LANGUAGES, "test-llama", language)
        parts = Model(vision="test-vit", language="test-llama")
        model = assemble(parts, seed=1)
        torch.manual_seed(2)
        for weights in model.model.multi_modal_projector.parameters():
            torch.nn.init.normal_(weights)  # as loud as words: what is seen changes what is said
        for weights in (*model.model.language_model.parameters(), model.lm_head.weight):
            if weights.dim() > 1:
                torch.nn.init.normal_(weights, std=0.5)  # logits far apart: rounding does not decide between words
        model.lm_head.weight.data[1] *= 1.5  # </s> is likely: answers end
        checkpoint.save(model, parts, "short", home / "language", folder)
        yield folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw eight pictures of noise, 0.png to 7.png."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(8):
        (folder / f"{number}.png").write_bytes(png(number))
    return folder
