"""What a training step holds in memory, traced: the product's model and engine `torch` on fake tensors, which have sizes and no bytes."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
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
from tinyllava_core.train.engines.plain import TorchEngine
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
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.note(leaf)
        return out

    def note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)

        def gone() -> None:
            self._known.discard(key)
            self.live -= size

        weakref.finalize(storage, gone)


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
        groups: Any = trainable.groups(model, training)
        engine = TorchEngine(model, groups, training)
        pack = fake_pack(records, length, supervised, recipe)
        storages = Storages()
        for held in (*model.parameters(), *model.buffers()):
            storages.note(held)
        begun = storages.live
        with storages:
            for last in (False, True):
                with torch.autocast("cpu", torch.bfloat16):
                    losses = engine.losses(*pack)
                engine.backward(losses.sum(), is_last=last)
                del losses
    return Traced(begun=begun, peak=storages.peak)


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
