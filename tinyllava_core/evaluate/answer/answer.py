"""Ask a checkpoint: batched greedy generation with a key-value cache. It reads no questions and writes no answers.

Shapes: B questions of a batch, T tokens of the longest, D language width, N images among them (or tiles of them), H height,
W width, K tokens of one, I tokens of a picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer
from transformers.utils.logging import disable_progress_bar

from tinyllava_core.data.inspect.decode import decode_stranger, read_stranger, size_of
from tinyllava_core.data.plan import prompt
from tinyllava_core.data.plan.picture_ids import picture_ids
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.data.tensors import example
from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.data.tensors.tiles import cut_up
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.corrupt import corrupt
from tinyllava_core.evaluate.answer.features import Features
from tinyllava_core.model import checkpoint
from tinyllava_core.model.device import use_gpu
from tinyllava_core.model.tinyllava import splice
from tinyllava_core.settings.condition import AS_IT_IS, Condition
from tinyllava_core.tokenizer import load_tokenizer

Size = tuple[int, int]  # width, height in pixels
ANY_SIZE: Size = (1, 1)  # of a picture, where all become the same
_MAX_THREADS = 8  # small models do not get faster with more


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as the model takes it."""

    tiles_N3HW: Tensor  # uint8; one, where the model does not cut pictures
    size: Size  # that it is cut as


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question as the model takes it."""

    ids: list[int]
    pictures: tuple[Shown, ...] = ()  # in the order of their places in `ids`
    names: tuple[str, ...] = ()  # of the pictures: one that is named again is not encoded again. Empty: none has a name


class Answerer:
    """A checkpoint that answers."""

    def __init__(self, folder: Path, *, precision: str = "fp32", device: str = "cpu") -> None:
        """Load it. Raises BadInput if the folder is no checkpoint."""
        disable_progress_bar()  # of loading weights: noise between the lines of a log and in front of an answer
        self.loaded = checkpoint.load(folder, precision=precision, device=device)
        self.tokenizer = load_tokenizer(folder)
        self._device = torch.device(device)
        self.features = Features(self._encode)
        self.decode: Callable[[bytes, str], np.ndarray] = decode_stranger  # a picture's bytes and name -> [H, W, 3]
        # Ours alone: what a checkpoint's own file sets (temperature, repetition penalty) must not change a score.
        self.loaded.model.generation_config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=list(self.stop_ids),
            pad_token_id=self.tokenizer.pad_id,
            suppress_tokens=self._of_pictures(),  # they would call for an image that is not there
        )

    def _of_pictures(self) -> list[int]:
        """List the tokens that stand for pictures and the places in them."""
        marks = [self.tokenizer.token_id(mark) for mark in self.loaded.scheme.marks]
        return [self.tokenizer.image_id, *(mark for mark in marks if mark is not None)]

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return prompt.stop_ids(self.loaded.prompt, self.tokenizer)

    def ids(self, text: str, sizes: Sequence[Size]) -> list[int]:
        """Put a question into the checkpoint's prompt format, its pictures in front -> [T]. Raises BadInput for an image tag in it."""
        if IMAGE_TAG in text:
            raise BadInput(f"the question holds {IMAGE_TAG}, which stands for a picture; give the picture instead")
        return self.conversation_ids([Turn(role="user", text=IMAGE_TAG * len(sizes) + text)], sizes)

    def conversation_ids(self, turns: Sequence[Turn], sizes: Sequence[Size]) -> list[int]:
        """Put a conversation that waits for an answer into the checkpoint's prompt format; `sizes`: of its pictures -> [T]."""
        images = picture_ids(self.loaded.scheme, sizes, self.tokenizer)
        return prompt.ask_on(self.loaded.prompt, self.tokenizer, turns, images)

    def picture(self, path: Path, condition: Condition = AS_IT_IS, name: str | None = None) -> Shown:
        """Read a picture as the encoder takes it. Raises BadInput if the file is none.

        `condition`: its corruption is done first; `name` (the path, if not given) decides its random part.
        """
        return self.decoded(read_stranger(path), name or str(path), condition)

    def decoded(self, image: bytes, name: str, condition: Condition = AS_IT_IS) -> Shown:
        """Decode a picture as the encoder takes it. Raises BadInput, with its name, if it is none.

        What is corrupted is cut as the picture was, so that it has as many tokens.
        """
        vision, image_HW3 = self.loaded.vision, self.decode(image, name)
        height, width = image_HW3.shape[:2]
        if condition.corruption is not None and condition.severity is not None:
            fill = example.mean_colour(vision)
            image_HW3 = corrupt(image_HW3, name, condition.corruption, condition.severity, fill)
        size = ANY_SIZE if self.loaded.scheme.is_fixed else (width, height)
        return Shown(cut_up(image_HW3, vision, self.loaded.scheme, self.loaded.card.pixels, size), size)

    def size(self, path: Path) -> Size:
        """Read a picture's size off its header, where it matters. Raises BadInput if the file is none."""
        return ANY_SIZE if self.loaded.scheme.is_fixed else size_of(read_stranger(path), str(path))

    def blank(self, size: Size = ANY_SIZE) -> Shown:
        """Give a picture that shows nothing, of that size."""
        scheme, vision = self.loaded.scheme, self.loaded.vision
        if scheme.mode == "native":
            one = np.full((1, 1, 3), example.mean_colour(vision), np.uint8)
            return Shown(cut_up(one, vision, scheme, self.loaded.card.pixels, size), size)
        number = scheme.cut(*size).num_tiles
        return Shown(example.blank(self.loaded.vision).expand(number, -1, -1, -1), size)

    @torch.inference_mode()
    def answer(
        self,
        asked: Sequence[Asked],
        max_new_tokens: int,
        streamer: BaseStreamer | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[str]:
        """Answer questions together. In fp32 each answer is what it would be alone. `should_stop` is asked at each token."""
        ids_BT, mask_BT = self._pad_left([one.ids for one in asked])
        model: Any = self.loaded.model  # its type leaves `generate` to a mixin that mypy cannot bind
        said_BT = model.generate(
            inputs_embeds=self._embed(ids_BT, asked),
            attention_mask=mask_BT,
            max_new_tokens=max_new_tokens,
            streamer=streamer,
            stopping_criteria=[lambda ids, scores: torch.full((len(ids),), should_stop(), device=ids.device)],
        )
        return [self._decode(row) for row in said_BT.tolist()]

    def _embed(self, ids_BT: Tensor, asked: Sequence[Asked]) -> Tensor:
        """Put the questions' words and pictures into the language model's space -> [B, T, D]."""
        embedded_BTD: Tensor = self.loaded.model.get_input_embeddings()(ids_BT)
        pictures = [picture for one in asked for picture in one.pictures]
        if not pictures:
            return embedded_BTD
        names = [name for one in asked for name in (one.names or (None,) * len(one.pictures))]
        image_ID = torch.cat(self.features.of(pictures, names))
        return splice(embedded_BTD, image_ID, ids_BT == self.tokenizer.image_id)

    def _encode(self, pictures: Sequence[Shown]) -> list[Tensor]:
        """Encode pictures together -> the tokens of each [I, D]."""
        model, scheme, sizes = self.loaded.model, self.loaded.scheme, [picture.size for picture in pictures]
        tiles_N3HW = torch.cat([picture.tiles_N3HW for picture in pictures]).to(self._device)
        order = order_of(scheme, sizes)
        if order is not None:
            order = example.mapped(order, lambda tensor: tensor.to(self._device))
        pixels_N3HW = example.normalise(tiles_N3HW, self.loaded.vision, model.dtype)
        tokens_NKD = model.image_tokens(pixels_N3HW, order.shapes_N2 if order else None)
        places = (order.place_I, order.weight_I) if order else (None, None)
        ordered_ID = model.ordered(tokens_NKD, *places)
        return list(ordered_ID.split([scheme.cut(*size).tokens for size in sizes]))

    def _pad_left(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(len(row) for row in rows)
        ids_BT = torch.full((len(rows), longest), self.tokenizer.pad_id, device=self._device)
        mask_BT = torch.zeros_like(ids_BT)
        for place, row in enumerate(rows):
            ids_BT[place, longest - len(row) :] = torch.tensor(row, device=self._device)
            mask_BT[place, longest - len(row) :] = 1
        return ids_BT, mask_BT

    def _decode(self, ids: list[int]) -> str:
        end = next((place for place, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return self.tokenizer.decode(ids[:end]).strip()


def pick_device(name: str) -> str:
    """Turn a recipe's `device` into torch's, and keep torch from starting more threads than help.

    Raises BadInput if cuda is demanded where there is none.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(_MAX_THREADS, torch.get_num_threads()))
    if not use_gpu(name):
        return "cpu"
    return f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else "cuda"
