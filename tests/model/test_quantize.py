"""Weights in four bits under adapters: the numbers of the packed layer, and that the real weights are what is kept.

bitsandbytes packs on a CPU as well, which is enough to hold the arithmetic; where it is not installed, that is skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tinyllava_core.errors import BadInput
from tinyllava_core.model import checkpoint, lora, quantize
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.training import Lora

CPU = torch.device("cpu")


def layer() -> lora.LoraLinear:
    torch.manual_seed(1)
    made = lora.LoraLinear.around(nn.Linear(64, 128), Lora(rank=4, alpha=8, dropout=0.0))
    made.weight.requires_grad_(False)
    nn.init.normal_(made.lora_up)
    return made


def test_a_cpu_is_refused_in_one_line(tiny_model: TinyLlava) -> None:
    with pytest.raises(BadInput, match="needs a GPU, and this training is on a CPU"):
        quantize.pack(tiny_model, CPU)


def test_a_packed_layer_computes_with_the_nearest_of_sixteen_values_and_its_adapter() -> None:
    """The sixteen: bitsandbytes' own, unpacked again; the adapter's part is exact."""
    packing = pytest.importorskip("bitsandbytes.functional")
    plain = layer()
    inputs = torch.randn(3, 5, 64, requires_grad=True)
    packed = quantize.PackedLora.over(plain, CPU)
    rounded = packing.dequantize_4bit(packed.packed, packed.state)
    assert 0 < float((rounded - plain.weight).abs().mean()) < 0.02  # weights within an eighth, in blocks of 64
    expected = nn.functional.linear(inputs, rounded, plain.bias) + plain.added(inputs)
    torch.testing.assert_close(packed(inputs), expected, atol=1e-5, rtol=1e-5)
    packed(inputs).sum().backward()
    assert packed.lora_down.grad is not None
    assert packed.weight.grad is None
    with torch.autocast("cpu", torch.bfloat16):
        assert packed(inputs).dtype == torch.bfloat16


def test_the_real_weights_stay_as_they_are_wherever_the_layer_goes() -> None:
    pytest.importorskip("bitsandbytes")
    plain = layer()
    before = plain.weight.clone()
    packed = quantize.PackedLora.over(plain, CPU).to(torch.bfloat16)
    assert packed.lora_down.dtype == torch.bfloat16
    assert torch.equal(packed.weight, before)
    assert set(dict(packed.named_parameters())) == {"weight", "bias", "lora_down", "lora_up"}


def test_a_checkpoint_of_packed_layers_holds_the_weights_that_it_began_with(
    tiny_model: TinyLlava, tiny_choice: Model, tiny_parts: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    checkpoint.save(tiny_model, tiny_choice, "short", tiny_parts / "language", tmp_path / "before")
    model = checkpoint.load_model(tmp_path / "before")
    lora.start(model, Lora(rank=2, alpha=4, dropout=0.0), 0, seed=1)
    quantize.pack_layers(model, CPU)
    assert any(isinstance(module, quantize.PackedLora) for module in model.modules())
    checkpoint.save(model, tiny_choice, "short", tiny_parts / "language", tmp_path / "after")
    before, after = (checkpoint.load(tmp_path / name).model.state_dict() for name in ("before", "after"))
    assert before.keys() == {name for name in after if lora.MARK not in name}
    assert all(torch.equal(before[name], after[name]) for name in before)
