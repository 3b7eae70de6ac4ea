"""Frozen matrices in half precision: not a bit of what is trained changes, and the checkpoint has them as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model import matrix
from safetensors.torch import load_file
from torch import nn

from tinyllava_core.job import TrainJob
from tinyllava_core.model import trainable
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.settings.training import Training
from tinyllava_core.train import __main__ as training_process
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.frozen import Frozen, matrices_alone
from tinyllava_core.train.ledger import read_rows
from tinyllava_core.train.once import built, rebuilt

MakeJob = Callable[..., TrainJob]
STAGES: dict[str, dict[str, Any]] = {
    "pretrain": {},
    "share": {"vision": {"trainable_from_layer": 1}, "language": {"trainable_from_layer": 1}},
}
CELLS = [
    ("tiny-clip", "llama"),
    ("tiny-siglip", "phi"),
    ("tiny-dinov2", "gemma2"),
    ("tiny-clip", "qwen2"),
    ("tiny-siglip", "stablelm"),
]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix.add_rows(monkeypatch, tmp_path)


def gradients(model: TinyLlava) -> dict[str, torch.Tensor]:
    """Of one pack: a picture and seven words, of which three are learned."""
    model.zero_grad(set_to_none=True)
    num = model.config.image_seq_length
    ids_T = torch.tensor([matrix.IMAGE_ID] * num + list(range(20, 27)))
    labels_T = torch.cat([torch.full((num + 4,), -100), ids_T[-3:]])
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.supervised_losses(ids_T, torch.arange(len(ids_T)), torch.zeros_like(ids_T), pixels, labels_T)
    losses.sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None} | {"losses": losses.detach()}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("vision", "family"), CELLS)
@pytest.mark.usefixtures("rows")
def test_losses_and_gradients_are_the_same_to_the_last_bit(vision: str, family: str, stage: str) -> None:
    model = matrix.make(matrix.choice(vision, "mlp", family)).train()
    training = Training.parse({"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-3} | STAGES[stage], "test")
    trainable.choose(model, training)
    before, wanted = {name: p.detach().clone() for name, p in model.named_parameters()}, gradients(model)
    frozen = Frozen.halved(model)
    try:
        found = gradients(model)
        types = {name: p.dtype for name, p in model.named_parameters()}
    finally:
        with frozen.whole():
            now = {name: p.detach().clone() for name, p in model.named_parameters()}
        for parameter, value in frozen._were.items():  # the next test has the same model
            parameter.data = value
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert all(torch.equal(now[name], before[name]) for name in before)
    halves = {name for name, dtype in types.items() if dtype == torch.bfloat16}
    assert {"vision"} <= {part_of(name) for name in halves}
    assert not halves & wanted.keys()
    assert not any("norm" in name or "embed_tokens" in name or "position" in name for name in halves)
    tied = model.config.tie_word_embeddings
    assert ("lm_head.weight" in halves) == (stage == "pretrain" and not tied) or stage == "share"


def test_a_matrix_that_something_else_reads_too_stays_as_it_is() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head, self.norm = nn.Embedding(5, 3), nn.Linear(3, 5), nn.LayerNorm(3)
            self.head.weight = self.words.weight

    model = Tied().requires_grad_(False)
    assert [id(p) for p in matrices_alone(model)] == [id(model.head.bias)]
    model.head.bias.requires_grad_(True)
    assert matrices_alone(model) == []


def test_a_stage_with_halved_frozen_parts_ends_with_the_same_checkpoint(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose place a CPU takes here: the encoder is frozen, the held-out records are measured, the best weights kept."""
    fields = {"precision": "bf16", "held_out": 3, "held_out_every": 3}
    plain, halved = make_job("plain", **fields), make_job("halved", **fields)
    run(plain, [False])
    monkeypatch.setattr(training_process, "worth_halving", lambda *_: True)
    seen: list[int] = []
    true_halved = Frozen.halved
    monkeypatch.setattr(Frozen, "halved", lambda model: seen.append(len(matrices_alone(model))) or true_halved(model))
    run(halved, [False])
    assert seen[0] > 10
    for folder in ("checkpoint", "best"):
        mine, theirs = (load_file(job.out / folder / "model.safetensors") for job in (halved, plain))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    keys = ("loss", "grad_norm")
    ledgers = [[[row[key] for key in keys] for row in read_rows(job.out / "steps.jsonl")] for job in (halved, plain)]
    assert ledgers[0] == ledgers[1]


@pytest.mark.parametrize(("vision", "family"), [*CELLS, ("tiny-mixture", "gemma"), ("tiny-clip", "qwen3")])
@pytest.mark.usefixtures("rows")
def test_a_model_that_is_sent_without_its_bytes_is_built_the_same(vision: str, family: str) -> None:
    model = matrix.make(matrix.choice(vision, "mlp", family))
    sent: list[torch.Tensor] = []
    build = built(model, sent)
    assert len(build) < 300_000
    received: list[torch.Tensor] = []
    other = rebuilt(build, received, torch.device("cpu"))
    assert [id(p) for p in other.parameters()] != [id(p) for p in model.parameters()]
    assert len(sent) == len(received) == len({id(tensor) for tensor in sent})
    assert {id(tensor) for tensor in sent} >= {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    with torch.no_grad():
        for mine, theirs in zip(received, sent, strict=True):
            mine.copy_(theirs)
    for part in ("named_parameters", "named_buffers"):
        mine, theirs = (dict(getattr(one, part)()) for one in (other, model))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert all(a.requires_grad == b.requires_grad for a, b in zip(other.parameters(), model.parameters(), strict=True))
    asked = torch.arange(20, 29)[None]
    with torch.no_grad():
        torch.testing.assert_close(other(input_ids=asked).logits, model(input_ids=asked).logits, atol=0, rtol=0)
