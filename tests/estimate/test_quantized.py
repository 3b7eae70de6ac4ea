"""The QLoRA recipe says at once, in one line, what this machine lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.__main__ import main
from tinyllava_core.errors import BadInput
from tinyllava_core.estimate import quantized
from tinyllava_core.estimate.quantized import check_quantized
from tinyllava_core.recipe import load


@pytest.mark.parametrize(
    ("gpu", "package", "missing"),
    [
        (False, False, "a GPU and bitsandbytes"),
        (True, False, "missing here: bitsandbytes"),
        (False, True, "missing here: a GPU."),
    ],
)
def test_everything_that_is_missing_is_named(
    gpu: bool, package: bool, missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(quantized, "GPU_DEVICES", (str(tmp_path if gpu else tmp_path / "none"),))
    monkeypatch.setattr(quantized, "has_bitsandbytes", lambda: package)
    with pytest.raises(BadInput, match=missing):
        check_quantized(load("qlora"))


def test_a_machine_that_has_both_may_go_on_and_one_told_to_use_its_cpu_may_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(quantized, "GPU_DEVICES", (str(tmp_path),))
    monkeypatch.setattr(quantized, "has_bitsandbytes", lambda: True)
    check_quantized(load("qlora"))
    with pytest.raises(BadInput, match="missing here: a GPU"):
        check_quantized(load("qlora", {"launch.device": "cpu"}))


def test_other_recipes_need_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "has_bitsandbytes", lambda: pytest.fail("looked for it"))
    for name in ("toy", "base", "lora"):
        check_quantized(load(name))


def test_the_command_ends_with_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantized, "has_bitsandbytes", lambda: False)
    assert main(["qlora", "--workspace", str(tmp_path / "workspace")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "sft.language.lora.quantize needs a GPU and bitsandbytes" in line
    assert not (tmp_path / "workspace").exists()


def test_zero_and_packed_weights_exclude_each_other() -> None:
    with pytest.raises(BadInput, match=r"ZeRO cannot share packed weights out; set launch.zero_stage to null"):
        load("qlora", {"launch.zero_stage": 2, "launch.launcher": "deepspeed"})
