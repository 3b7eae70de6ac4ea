"""What a training step holds in memory, traced: the product's model, with engine `torch` or shared out by fsdp, on fake tensors, which
have sizes and no bytes, and among fake ranks, which answer at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp._fully_shard import _fsdp_param, _fsdp_param_group
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.initialization import no_init_weights

from tinyllava_core.model import trainable
from tinyllava_core.model.assemble import published
from tinyllava_core.model.records import Layout, Records
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts import VISIONS
from tinyllava_core.recipe import Recipe
from tinyllava_core.train.__main__ import spare_and_speed
from tinyllava_core.train.engines import fsdp
from tinyllava_core.train.engines.fsdp import FsdpEngine
from tinyllava_core.train.engines.plain import TorchEngine, held
from tinyllava_core.train.frozen import Frozen


@dataclass(frozen=True)
class Traced:
    """Bytes of storages that were alive together."""

    begun: int  # weights and buffers
    peak: int  # within two packs, forward and backward


class Storages(TorchDispatchMode):
    """Counts the bytes of all storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, int] = {}  # storage -> bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.note(leaf)
        return out

    def note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = 0
            self.resized(tensor)
            weakref.finalize(storage, self._gone, key)

    def resized(self, tensor: Tensor) -> None:
        """Count a storage anew that was let go of, or taken again, without its tensor: fsdp does so."""
        storage = tensor.untyped_storage()
        self.live += storage.nbytes() - self._known.get(storage._cdata, storage.nbytes())
        self._known[storage._cdata] = storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _gone(self, key: int) -> None:
        self.live -= self._known.pop(key, 0)


@contextmanager
def fake_ranks(recipe: Recipe) -> Iterator[None]:
    """Be rank 0 of as many as the recipe asks for; what fsdp does to storages by hand is counted by `WATCHING`."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    world = recipe.launch.processes * recipe.launch.nodes
    torch.distributed.init_process_group("fake", rank=0, world_size=world, store=FakeStore())
    mesh = fsdp.init_device_mesh("cpu", (world,))  # a fake tensor could not say which ranks it has
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsdp, "init_device_mesh", lambda *_: mesh)
        for module, name in (
            (_fsdp_param, "free_storage"),
            (_fsdp_param, "alloc_storage"),
            (_fsdp_param_group, "alloc_storage"),
        ):
            patch.setattr(module, name, partial(_by_hand, getattr(module, name)))
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()


WATCHING: list[Storages] = []


def _by_hand(act: Callable[[Tensor], None], tensor: Tensor) -> None:
    act(tensor)
    for storages in WATCHING:
        storages.resized(tensor)


def trace(recipe: Recipe, stage: str, records: int, length: int, supervised: int) -> Traced:
    """Run two packs of so many records through the stage's model, each with an image, and engine `torch`; the optimizer does not step."""
    training = recipe.training(stage)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with no_init_weights():
            model = TinyLlava(published(recipe.model))
        trainable.choose(model, training)
        if training.precision == "bf16":
            Frozen.halved(model)
        model.train()
        spare_and_speed(model, training, recipe.launch)
        if recipe.launch.fsdp:
            fsdp.shard(model, training, recipe.launch, torch.device("cpu"))
        pack = fake_pack(records, length, supervised, recipe)
        storages = Storages()
        for tensor in (*model.parameters(), *model.buffers()):
            storages.note(held(tensor))
        begun = storages.live
        WATCHING.append(storages)
        with storages:
            for last in (False, True):
                with torch.autocast("cpu", torch.bfloat16):
                    losses = model.supervised_losses(*pack)
                backward(model, recipe, losses.sum(), last)
                del losses
        WATCHING.remove(storages)
    return Traced(begun=begun, peak=storages.peak)


def backward(model: TinyLlava, recipe: Recipe, loss: Tensor, last: bool) -> None:
    """As the recipe's engine does it."""
    engine = FsdpEngine.__new__(FsdpEngine) if recipe.launch.fsdp else TorchEngine.__new__(TorchEngine)
    engine.model = model
    if isinstance(engine, FsdpEngine):
        engine.keeps = recipe.launch.fsdp == "keep"
    engine.backward(loss, is_last=last)


def fake_pack(records: int, length: int, supervised: int, recipe: Recipe) -> tuple[Any, ...]:
    total, size = records * length, VISIONS[recipe.model.vision].image_size
    ids = torch.zeros(total, dtype=torch.int64)
    known = Records((length,) * records, torch.zeros(records + 1, dtype=torch.int32), length)
    layout = Layout(
        records=known,
        image_I=torch.zeros(records * recipe.model.tokens_per_image, dtype=torch.int64),
        keep_S=torch.zeros(supervised, dtype=torch.int64),
        labels_S=torch.zeros(supervised, dtype=torch.int64),
    )
    return ids, ids.clone(), ids.clone(), torch.zeros(records, 3, size, size), ids.clone(), layout
