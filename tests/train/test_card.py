"""What only a GPU does, by the arguments that its libraries are given: pinned memory, process groups, TensorFloat-32."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from train.test_watch import loaded_packs

from tinyllava_core.data.tensors import stream as streaming
from tinyllava_core.data.tensors.example import Pack
from tinyllava_core.data.tensors.order import Order
from tinyllava_core.data.tensors.stream import PlannedPacks, stream
from tinyllava_core.job import TrainJob
from tinyllava_core.train.__main__ import make_repeatable, reading
from tinyllava_core.train.engines.ranks import start_ranks

MakeJob = Callable[..., TrainJob]


def tensors_of(held: Any) -> list[Tensor]:
    values = [getattr(held, field.name) for field in dataclasses.fields(held)]
    inner = [tensor for value in values if dataclasses.is_dataclass(value) for tensor in tensors_of(value)]
    return [value for value in values if isinstance(value, Tensor)] + inner


@pytest.fixture
def pack(make_job: MakeJob) -> Pack:
    (first, *_) = loaded_packs(make_job("packs"))
    return dataclasses.replace(
        first, order=Order(place_I=torch.zeros(3, dtype=torch.int64), weight_I=torch.zeros(3, 4), tokens=1)
    )


def test_every_tensor_of_a_pack_is_pinned_and_sent_without_waiting(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, sent = [], []
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: pinned.append(id(tensor)) or tensor)
    true_to = Tensor.to
    monkeypatch.setattr(
        Tensor, "to", lambda tensor, *a, **named: sent.append((id(tensor), a, named)) or true_to(tensor, *a, **named)
    )
    wanted = [id(tensor) for tensor in tensors_of(pack)]
    assert len(wanted) == 5 + 6 + 2  # the pack's own, its places', its order's
    pack.pin_memory()
    assert sorted(pinned) == sorted(wanted)
    pack.to(torch.device("meta"))
    assert sorted(one for one, _, _ in sent) == sorted(wanted)
    assert all((a, named) == ((torch.device("meta"),), {"non_blocking": True}) for _, a, named in sent)


@pytest.mark.parametrize("pin", [True, False])
def test_the_loader_pins_where_it_is_asked_to(make_job: MakeJob, pin: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    job, asked = make_job("pinned"), []
    true_loader = streaming.DataLoader

    def loader(*given: Any, pin_memory: bool, **named: Any) -> Any:
        asked.append(pin_memory)
        return true_loader(*given, **named)

    monkeypatch.setattr(streaming, "DataLoader", loader)
    next(stream(PlannedPacks(job.shards, job.plan, reading(job)), 0, 0, 1, workers=0, pin=pin))
    assert asked == [pin]


@pytest.mark.parametrize(
    ("device", "backend", "more"),
    [
        ("cpu", "gloo", {}),
        ("cuda:1", "cpu:gloo,cuda:nccl", {"device_id": torch.device("cuda:1")}),
    ],
)
def test_ranks_meet_on_their_device_and_a_lost_one_is_noticed(
    device: str, backend: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL alone would wait ten minutes for rank 0 to write a checkpoint; without a device it guesses one."""
    asked = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(dist, "init_process_group", lambda *given, **named: asked.append((given, named)))
    start_ranks(torch.device(device))
    assert asked == [((backend,), {"timeout": timedelta(minutes=30)} | more)]


@pytest.fixture
def arithmetic() -> Iterator[None]:
    was = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(was[0])
    torch.backends.cudnn.allow_tf32 = was[1]
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize(("asked", "products", "kernels"), [(False, "high", True), (True, "highest", False)])
def test_fp32_on_a_gpu_is_tensorfloat_unless_bits_are_to_be_the_same(
    make_job: MakeJob, asked: bool, products: str, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    recipe = make_job("arithmetic", launch={"deterministic": asked}).recipe
    make_repeatable(recipe, recipe.sft, torch.device("cuda", 0))
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (products, kernels)
    assert torch.are_deterministic_algorithms_enabled() == asked
