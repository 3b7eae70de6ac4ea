"""`python -m tinyllava_core.export JOB.yaml`: export a checkpoint as a plain Hugging Face Llava folder, and prove it equal.

Ends with 0 and a result, or with 2 and one line where the format cannot hold the model.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.utils import logging as transformers_logging

from tinyllava_core.data.plan.prompt import ask
from tinyllava_core.data.tensors.example import blank, normalise
from tinyllava_core.errors import BadInput
from tinyllava_core.job import ExportJob, Progress, tell, write_result
from tinyllava_core.model import checkpoint, lora
from tinyllava_core.model.checkpoint import Loaded
from tinyllava_core.model.foreign.layout import EXPORT_CARD
from tinyllava_core.model.portable import make_tokenizer_portable
from tinyllava_core.results import ExportResult
from tinyllava_core.room import told
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer

_NEW_TOKENS = 16
_QUESTIONS = ("What is in the picture?", "Answer yes or no: is it red?")


def main(argv: list[str]) -> int:
    """Run the job file named in `argv`; give the exit code."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        job = ExportJob.read(Path(argv[-1]))
        with told("export", job.out):
            result = export(job.checkpoint, job.out / "hf")
            write_result(job.out, "export", result)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def export(source: Path, out: Path) -> ExportResult:
    """Write `source` as a folder that plain transformers loads, with its processor and chat template.

    Raises BadInput if transformers' Llava class cannot hold the model, RuntimeError if what it loads is not equal.
    """
    loaded = checkpoint.load(source)
    lora.merge(loaded.model)
    reason = checkpoint.why_not_plain_llava(loaded.model)
    if reason is not None:
        raise BadInput(
            f"{source}: transformers' Llava class cannot hold this model exactly: {reason}; use the checkpoint with this package"
        )
    shutil.rmtree(out, ignore_errors=True)
    checkpoint.write(loaded.model, loaded.card, source, out)
    make_tokenizer_portable(out)
    (out / "tinyllava.json").rename(out / EXPORT_CARD)
    if (note := checkpoint.other_in_transformers_4(loaded.model)) is not None:
        print(f"export: {note}", flush=True)
    tell(Progress(done=1, total=2, unit="steps", note="written"))
    try:
        result = compare(loaded, out)
    except RuntimeError:
        shutil.rmtree(out)
        raise
    tell(Progress(done=2, total=2, unit="steps", note="compared"))
    return result


@torch.no_grad()
def compare(loaded: Loaded, out: Path) -> ExportResult:
    """Ask both models the same and compare logits and greedy answers, in fp32. Raises RuntimeError where they differ."""
    theirs = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(loaded.folder)
    worst, equal = 0.0, True
    for seed, question in enumerate(_QUESTIONS):
        inputs = _inputs(loaded, tokenizer, question, seed)
        logits = [model(**inputs).logits for model in (loaded.model, theirs)]
        worst = max(worst, float((logits[0] - logits[1]).abs().max()))
        forbid = [loaded.model.config.image_token_id]
        answers = [
            model.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False, suppress_tokens=forbid)
            for model in (loaded.model, theirs)
        ]
        equal = equal and torch.equal(answers[0], answers[1])
    if worst > 1e-4 or not equal:
        raise RuntimeError(
            f"{out}: plain transformers gives other logits (by up to {worst:.2e}) or answers; the export is not kept"
        )
    size = sum(file.stat().st_size for file in out.iterdir())
    return ExportResult(format="hf-llava", size_bytes=size, max_logit_difference=worst, equal_generations=equal)


def _inputs(loaded: Loaded, tokenizer: Tokenizer, question: str, seed: int) -> dict[str, Tensor]:
    image = blank(loaded.vision)
    noise = torch.randint(0, 256, image.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    ids = torch.tensor([ask(loaded.prompt, tokenizer, question, 1, loaded.tokens_per_image)])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": normalise(noise[None], loaded.vision),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv))
