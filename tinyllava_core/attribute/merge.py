"""`python -m tinyllava_core.attribute.merge JOB.yaml`: what weighted means of checkpoints make of the right answers. It trains nothing.

Leaves merged.parquet: a row for each mean. Started again, it goes on behind the last row.
Source: a model trained on a mix is foretold by the share-weighted mean of models trained on its parts, arXiv 2602.04937.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from transformers.utils import logging as transformers_logging

from tinyllava_core.attribute.asked import right_answers
from tinyllava_core.attribute.store import outcomes, write
from tinyllava_core.evaluate.answer.answer import Answerer, pick_device
from tinyllava_core.job import MergeJob, Progress, obey, tell, write_result
from tinyllava_core.model import checkpoint, lora
from tinyllava_core.results import MergeResult
from tinyllava_core.train.average import put_mean
from tinyllava_core.why.outcome import value_of


def main(arguments: list[str]) -> int:
    """Do a job. Exit code 2 and one line on stderr if the input is at fault."""
    transformers_logging.set_verbosity_error()
    return obey(lambda: merge(MergeJob.read(Path(arguments[-1]))))


def merge(job: MergeJob) -> MergeResult:
    """Put each mean into one model, and measure it."""
    started, device = time.monotonic(), torch.device(pick_device(job.recipe.launch.device))
    answerer = Answerer(job.checkpoints[0], device=str(device))
    model, precision = answerer.loaded.model, job.recipe.training(job.stage).precision
    lora.merge(model)
    files = [_plain(folder, job.out / f"plain-{number}.safetensors") for number, folder in enumerate(job.checkpoints)]
    held = checkpoint.named_for_hub(model)
    given = [one for evaluation in job.evaluations for one in right_answers(evaluation)]
    path = job.out / "merged.parquet"
    rows = pq.read_table(path).to_pylist() if path.is_file() else []
    for number in range(len(rows), len(job.mixes)):
        put_mean(held, files, job.mixes[number])
        value = value_of(outcomes(answerer, given, precision, device))
        rows.append({"mix": number, "log_probability": value.log_probability, "right": value.right})
        write(pa.Table.from_pylist(rows), path)
        tell(Progress(done=number + 1, total=len(job.mixes), unit="mixes"))
    for file in job.out.glob("plain-*.safetensors"):
        file.unlink()
    result = MergeResult(
        stage=job.stage,
        num_checkpoints=len(job.checkpoints),
        num_mixes=len(job.mixes),
        num_questions=len(given),
        seconds=round(time.monotonic() - started, 2),
    )
    write_result(job.out, job.kind, result)
    return result


def _plain(folder: Path, aside: Path) -> Path:
    """Give the file of a checkpoint's weights; with its adapters added to them, where it has some: a mean of those is none of theirs."""
    if not (folder / lora.CONFIG).is_file():
        return folder / "model.safetensors"
    model = checkpoint.load(folder).model
    lora.merge(model)
    save_file(checkpoint.hub_tensors(model), aside)
    return aside


if __name__ == "__main__":
    sys.exit(main(sys.argv))
