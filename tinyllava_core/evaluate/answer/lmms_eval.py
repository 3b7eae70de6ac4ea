"""A plug-in for lmms-eval: it drives our own checkpoints, as an independent check of our scores. lmms-eval is not installed with us.

`python -m lmms_eval --model tinyllava_pipelines --model_args pretrained=CHECKPOINT --tasks pope`: found through the entry
point group `lmms_eval.models`. Prompts, answers' parsing and metrics are lmms-eval's. Written for its 0.7 (api/model.py).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from lmms_eval.api.model import lmms

from tinyllava_core.data.record.record import IMAGE_TAG
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, Asked, pick_device
from tinyllava_core.evaluate.answer.ask import find_checkpoint

MODEL_ID = "tinyllava_pipelines"  # `tinyllava` is lmms-eval's own, for TinyLLaVA Factory's checkpoints
_GREEDY = {"temperature": (0, 0.0, None), "do_sample": (False, None), "num_beams": (1, None), "top_p": (1, 1.0, None)}


def manifest() -> Any:
    """Tell lmms-eval of this model: what its entry points give."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_ID, simple_class_path=f"{__name__}.TinyLlavaPipelines")


class TinyLlavaPipelines(lmms):  # type: ignore[misc]  # its module is not there when types are checked
    """A checkpoint of this package as lmms-eval's model, one process."""

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 1,
        device: str = "auto",
        precision: str = "bf16",
        max_new_tokens: int | str = 128,
        **unknown: Any,
    ) -> None:
        """`pretrained`: a checkpoint, or the artifact folder of a trained stage. Raises BadInput on other arguments."""
        super().__init__()
        unknown.pop("max_batch_size", None)  # lmms-eval always gives it
        if unknown:
            raise BadInput(
                f"--model_args: unknown {', '.join(sorted(unknown))}; known: pretrained, batch_size, device, precision, max_new_tokens"
            )
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise BadInput(f"--batch_size {batch_size}: expected a number from 1")
        self.batch_size, self._most = int(batch_size), int(max_new_tokens)
        where = pick_device("cuda" if str(device).startswith("cuda") else str(device))
        self.answerer = Answerer(find_checkpoint(Path(pretrained)), precision=precision, device=where)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer all requests, in their order. Raises BadInput where a task asks for another decoding than the greedy one."""
        asked = [self._asked(*request.args) for request in requests]
        order = sorted(range(len(asked)), key=lambda place: (-asked[place][1], -len(asked[place][0].ids)))
        texts = [""] * len(asked)
        for most, alike in groupby(order, key=lambda place: asked[place][1]):
            places = list(alike)
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                answers = self.answerer.answer([asked[place][0] for place in batch], most)
                for place, answer in zip(batch, answers, strict=True):
                    texts[place] = _until(answer, asked[place][2])
        return texts

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Refuse: this model only answers."""
        raise NotImplementedError(f"{MODEL_ID}: no log-likelihoods; choose tasks with output_type generate_until")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        """Refuse: one question, one answer."""
        raise NotImplementedError(
            f"{MODEL_ID}: no tasks of several rounds; choose tasks with output_type generate_until"
        )

    def _asked(
        self, context: str, settings: dict[str, Any], doc_to_visual: Any, doc_id: Any, task: str, split: str
    ) -> tuple[Asked, int, list[str]]:
        """Give a request as the model takes it, its most new tokens, and the texts that end its answer."""
        for name, usual in _GREEDY.items():
            if settings.get(name) not in usual:
                raise BadInput(f"{task}: {name} = {settings[name]!r}; {MODEL_ID} answers greedily only")
        visuals = doc_to_visual(self.task_dict[task][split][doc_id]) or []
        pictures = tuple(self.answerer.decoded(_png(visual), f"{task} {doc_id}") for visual in visuals)
        ids = self.answerer.ids(context.replace(IMAGE_TAG, "").strip(), [one.size for one in pictures])
        until = settings.get("until") or []
        return (
            Asked(ids=ids, pictures=pictures),
            settings.get("max_new_tokens", self._most),
            ([until] if isinstance(until, str) else list(until)),
        )


def _png(visual: Any) -> bytes:
    """Give a picture's bytes. Raises BadInput for a video or a sound."""
    if not hasattr(visual, "save"):
        raise BadInput(f"a {type(visual).__name__} among the task's visuals; {MODEL_ID} sees pictures only")
    buffer = io.BytesIO()
    (visual.convert("RGB") if visual.mode in ("CMYK", "YCbCr", "HSV", "LAB") else visual).save(buffer, "PNG")
    return buffer.getvalue()


def _until(answer: str, ends: Sequence[str]) -> str:
    for end in ends:
        answer = answer.split(end, 1)[0] if end else answer
    return answer.strip()
