"""Ask a checkpoint: batched greedy generation with a key-value cache. It scores nothing and writes no file of its own.

Shapes: B questions of a batch, T tokens of the longest, N images among them, H height, W width.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer
from transformers.utils.logging import disable_progress_bar

from tinyllava_core.data import example, prompt
from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.data.record import IMAGE_TAG, Turn
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.journal import Journal
from tinyllava_core.evaluate.questions import Question
from tinyllava_core.job import Progress
from tinyllava_core.model import checkpoint
from tinyllava_core.model.device import use_gpu
from tinyllava_core.tokenizer import load_tokenizer

_MAX_THREADS = 8  # small models do not get faster with more


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question as the model takes it."""

    ids: list[int]
    pictures: tuple[Tensor, ...] = ()  # [3, H, W] uint8 each, in the order of their places in `ids`


class Answerer:
    """A checkpoint that answers."""

    def __init__(self, folder: Path, *, precision: str = "fp32", device: str = "cpu") -> None:
        """Load it. Raises BadInput if the folder is no checkpoint."""
        disable_progress_bar()  # of loading weights: noise between the lines of a log and in front of an answer
        self.loaded = checkpoint.load(folder, precision=precision, device=device)
        self.tokenizer = load_tokenizer(folder)
        self._device = torch.device(device)
        # Ours alone: what a checkpoint's own file sets (temperature, repetition penalty) must not change a score.
        self.loaded.model.generation_config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=list(self.stop_ids),
            pad_token_id=self.tokenizer.pad_id,
            suppress_tokens=[self.tokenizer.image_id],  # it would call for an image that is not there
        )

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return prompt.stop_ids(self.loaded.prompt, self.tokenizer)

    def ids(self, text: str, *, num_images: int) -> list[int]:
        """Put a question into the checkpoint's prompt format, its images in front -> [T]. Raises BadInput for an image tag in it."""
        if IMAGE_TAG in text:
            raise BadInput(f"the question holds {IMAGE_TAG}, which stands for a picture; give the picture instead")
        return prompt.ask(self.loaded.prompt, self.tokenizer, text, num_images, self.loaded.tokens_per_image)

    def conversation_ids(self, turns: Sequence[Turn]) -> list[int]:
        """Put a conversation that waits for an answer into the checkpoint's prompt format -> [T]."""
        return prompt.ask_on(self.loaded.prompt, self.tokenizer, turns, self.loaded.tokens_per_image)

    def picture(self, path: Path) -> Tensor:
        """Read a picture as the encoder takes it -> [3, H, W] uint8. Raises BadInput if the file is none."""
        try:
            return self.decoded(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise BadInput(f"{path}: no such file") from None

    def decoded(self, image: bytes, name: str) -> Tensor:
        """Decode a picture as the encoder takes it -> [3, H, W] uint8. Raises BadInput, with its name, if it is none."""
        try:
            return example.pixels(image, self.loaded.vision, self.loaded.image_mode, self.loaded.card.pixels)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise BadInput(f"{name}: cannot be read as a picture: {reason}; expected JPEG, PNG or the like") from None

    def blank(self) -> Tensor:
        """Give a picture that shows nothing, of the same size -> [3, H, W] uint8."""
        return example.blank(self.loaded.vision)

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
        pictures = [picture for one in asked for picture in one.pictures]
        seen: dict[str, Tensor] = {}  # without any picture the key itself must be absent
        if pictures:
            on_device = torch.stack(pictures).to(self._device)
            seen["pixel_values"] = example.normalise(on_device, self.loaded.vision, self.loaded.model.dtype)
        model: Any = self.loaded.model  # its type leaves `generate` to a mixin that mypy cannot bind
        out_BT = model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            **seen,
            max_new_tokens=max_new_tokens,
            streamer=streamer,
            stopping_criteria=[lambda ids, scores: torch.full((len(ids),), should_stop(), device=ids.device)],
        )
        return [self._decode(row) for row in out_BT[:, ids_BT.shape[1] :].tolist()]

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


def answer_all(
    answerer: Answerer,
    journal: Journal,
    images: ImagePlaces,
    *,
    blind: bool,
    batch_size: int,
    max_new_tokens: int,
    on_progress: Callable[[Progress], None],
) -> None:
    """Answer what the journal has no answer to, in batches of about equal length, each kept before the next is asked.

    `blind`: every picture is replaced by one that shows nothing, with as many tokens.
    """
    started, before = time.monotonic(), len(journal.texts)
    total = before + len(journal.left)

    def read(batch: Sequence[tuple[Question, list[int]]]) -> list[Asked]:
        return [Asked(ids=ids, pictures=_pictures(answerer, question, images, blind)) for question, ids in batch]

    for batch, asked in _read_ahead(_batches(answerer, journal.left, batch_size), read):
        journal.add([question for question, _ in batch], answerer.answer(asked, max_new_tokens))
        done = len(journal.texts)
        rate = (done - before) / (time.monotonic() - started)
        on_progress(Progress(done=done, total=total, unit="questions", note=f"{rate:.1f} per second"))


def pick_device(name: str) -> str:
    """Turn a recipe's `device` into torch's, and keep torch from starting more threads than help.

    Raises BadInput if cuda is demanded where there is none.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(_MAX_THREADS, torch.get_num_threads()))
    return "cuda" if use_gpu(name) else "cpu"


def _batches(
    answerer: Answerer, questions: Sequence[Question], batch_size: int
) -> list[list[tuple[Question, list[int]]]]:
    """Cut questions into batches, longest prompts first (what does not fit fails at once), one image's side by side."""
    asked = [
        (question, answerer.ids(question.text, num_images=int(question.image is not None))) for question in questions
    ]
    asked.sort(key=lambda pair: (-len(pair[1]), pair[0].image or ""))
    return [asked[start : start + batch_size] for start in range(0, len(asked), batch_size)]


def _pictures(answerer: Answerer, question: Question, images: ImagePlaces, blind: bool) -> tuple[Tensor, ...]:
    if question.image is None:
        return ()
    if blind:
        return (answerer.blank(),)
    file = images.find(question.image)
    if file is None:
        raise BadInput(f"{question.image}: was there when the evaluation began, is gone now: {images.told()}")
    return (answerer.picture(file),)


def _read_ahead(
    batches: Sequence[list[tuple[Question, list[int]]]],
    read: Callable[[Sequence[tuple[Question, list[int]]]], list[Asked]],
) -> Iterator[tuple[list[tuple[Question, list[int]]], list[Asked]]]:
    """Decode the next batch's pictures while the model answers this one's."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = [reader.submit(read, batch) for batch in batches[:1]]
        for place, batch in enumerate(batches):
            ready = coming.pop().result()
            coming += [reader.submit(read, following) for following in batches[place + 1 : place + 2]]
            yield batch, ready
