"""`python -m tinyllava_core.export JOB.yaml`: export a checkpoint as a plain Hugging Face folder, and prove it equal.

Ends with 0 and a result, or with 2 and one line where the format cannot hold the model.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from tinyllava_core.artifact import write_aside
from tinyllava_core.checkpoints import CARD, EXPORT_CARD
from tinyllava_core.data.plan.picture_ids import picture_ids
from tinyllava_core.data.plan.prompt import ask_on
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.data.tensors.example import normalise
from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.data.tensors.tiles import cut_up
from tinyllava_core.errors import BadInput
from tinyllava_core.export import formats, in_parts
from tinyllava_core.job import ExportJob, Progress, tell, write_result
from tinyllava_core.model import checkpoint, lora
from tinyllava_core.model.checkpoint import Loaded
from tinyllava_core.model.portable import make_tokenizer_portable
from tinyllava_core.model.tinyllava import splice
from tinyllava_core.results import ExportResult
from tinyllava_core.room import told
from tinyllava_core.secret import without_places
from tinyllava_core.settings.export import ExportFormat
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer

_NEW_TOKENS = 16
_CLASSES: dict[ExportFormat, str] = {
    "hf-llava": "Llava",
    "hf-llava-next": "LlavaNext",
    "hf-llava-onevision": "LlavaOnevision",
    "hf-idefics3": "Idefics3",
    "hf-lfm2-vl": "Lfm2Vl",
    "vllm-llava": "Llava",
}
_QUESTIONS = ("What is in the picture?", "Answer yes or no: is it red?", "How many are there?")
_SIZES = ((100, 40), (37, 90), (9, 7))  # pixels: width, height


def main(argv: list[str]) -> int:
    """Run the job file named in `argv`; give the exit code."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        job = ExportJob.read(Path(argv[-1]))
        with told("export", job.out):
            result = export(job.checkpoint, job.out / "hf", job.recipe.export or "hf-llava")
            write_result(job.out, "export", result)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def export(source: Path, out: Path, kind: ExportFormat = "hf-llava") -> ExportResult:
    """Write `source` as a folder that plain transformers loads, with its processor and chat template where its own prepare the same.

    Raises BadInput if the format's class cannot hold the model, RuntimeError if what it loads is not equal.
    """
    loaded = checkpoint.load(source)
    lora.merge(loaded.model)
    if (reason := _why_not(loaded, kind)) is not None:
        whose = "vLLM's" if kind == "vllm-llava" else "transformers'"
        raise BadInput(
            f"{source}: {whose} {_CLASSES[kind]} class cannot hold this model exactly: {reason}; use the checkpoint with this package"
        )
    shutil.rmtree(out, ignore_errors=True)
    checkpoint.write(loaded.model, loaded.card, source, out)
    if kind == "vllm-llava":
        in_parts.write(out)
    elif kind != "hf-llava":
        formats.write(loaded, out, kind)
    make_tokenizer_portable(out)
    card = json.loads((out / CARD).read_text(encoding="utf-8"))
    write_aside(out / EXPORT_CARD, json.dumps(without_places(card), indent=2))
    (out / CARD).unlink()
    if kind == "vllm-llava" and loaded.model.lm_head.bias is not None:
        print("export: for vLLM; transformers' own Llava class would drop the bias of its head", flush=True)
    if (note := checkpoint.other_in_transformers_4(loaded.model)) is not None:
        print(f"export: {note}", flush=True)
    tell(Progress(done=1, total=2, unit="steps", note="written"))
    try:
        result = compare(loaded, out, kind)
    except RuntimeError:
        shutil.rmtree(out)
        raise
    tell(Progress(done=2, total=2, unit="steps", note="compared"))
    return result


@torch.no_grad()
def compare(loaded: Loaded, out: Path, kind: ExportFormat = "hf-llava") -> ExportResult:
    """Ask both models the same and compare logits and greedy answers, in fp32, about a wide, a tall and a tiny picture.

    Raises RuntimeError where they differ, and where a weight is missing or left over: transformers would only print it.
    """
    theirs = in_parts.InParts(out) if kind == "vllm-llava" else _Plain(out)
    tokenizer = load_tokenizer(loaded.folder)
    worst, equal, forbid = 0.0, True, [loaded.model.config.image_token_id]
    how = {"max_new_tokens": _NEW_TOKENS, "do_sample": False, "suppress_tokens": forbid}
    for seed, (question, size) in enumerate(zip(_QUESTIONS, _SIZES, strict=True)):
        ids, tiles_N3HW = _asked(loaded, tokenizer, question, size, seed)
        embedded = _embedded(loaded, ids, tiles_N3HW, size)
        given = formats.inputs(loaded, ids, tiles_N3HW, size, kind)
        logits = loaded.model(inputs_embeds=embedded).logits, theirs.logits(given)
        worst = max(worst, float((logits[0] - logits[1]).abs().max()))
        mask = torch.ones(embedded.shape[:2], dtype=torch.int64)
        said = loaded.model.generate(inputs_embeds=embedded, attention_mask=mask, **how)
        equal = equal and torch.equal(said, theirs.say(given, how))
    if worst > 1e-4 or not equal:
        raise RuntimeError(
            f"{out}: plain transformers gives other logits (by up to {worst:.2e}) or answers; the export is not kept"
        )
    size_bytes = sum(file.stat().st_size for file in out.iterdir())
    return ExportResult(format=kind, size_bytes=size_bytes, max_logit_difference=worst, equal_generations=equal)


class _Plain:
    """The class of transformers that a folder names, loaded from it."""

    def __init__(self, out: Path) -> None:
        how = {"dtype": torch.float32, "output_loading_info": True}
        model, report = AutoModelForImageTextToText.from_pretrained(out, **how)
        if report["missing_keys"] or report["unexpected_keys"]:
            raise RuntimeError(
                f"{out}: missing {report['missing_keys']}, unexpected {report['unexpected_keys']}; not kept"
            )
        self._model = model.eval()

    def logits(self, given: dict[str, Tensor]) -> Tensor:
        found: Tensor = self._model(**given).logits
        return found

    def say(self, given: dict[str, Tensor], how: dict[str, Any]) -> Tensor:
        said: Tensor = self._model.generate(**given, **how)[:, given["input_ids"].shape[1] :]
        return said


def _why_not(loaded: Loaded, kind: ExportFormat) -> str | None:
    if kind == "hf-llava":
        return checkpoint.why_not_plain_llava(loaded.model)
    if kind == "vllm-llava":
        return in_parts.why_not(loaded.model, loaded.scheme)
    return formats.why_not(loaded.model, loaded.scheme, kind)


def _asked(
    loaded: Loaded, tokenizer: Tokenizer, question: str, size: tuple[int, int], seed: int
) -> tuple[list[int], Tensor]:
    """Ask about a picture of noise -> ids [T], what the encoder takes [N, 3, H, W]."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    tiles_N3HW = cut_up(noise, loaded.vision, loaded.scheme, loaded.card.pixels)
    turn = Turn(role="user", text=f"{IMAGE_TAG}{question}")
    ids = ask_on(loaded.prompt, tokenizer, [turn], picture_ids(loaded.scheme, [size], tokenizer))
    return ids, normalise(tiles_N3HW, loaded.vision)


def _embedded(loaded: Loaded, ids: list[int], tiles_N3HW: Tensor, size: tuple[int, int]) -> Tensor:
    """Put a question into the language model's space as training does -> [1, T, D]."""
    model, ids_1T, order = loaded.model, torch.tensor([ids]), order_of(loaded.scheme, [size])
    places = (order.place_I, order.weight_I) if order else (None, None)
    image_ID = model.ordered(model.image_tokens(tiles_N3HW, order.shapes_N2 if order else None), *places)
    return splice(model.get_input_embeddings()(ids_1T), image_ID, ids_1T == model.config.image_token_id)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
