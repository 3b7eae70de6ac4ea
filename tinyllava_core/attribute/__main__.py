"""`python -m tinyllava_core.attribute JOB.yaml`: keep what ties a checkpoint's answers to the records of its plan. It trains nothing.

Leaves records-*.parquet, questions.parquet, kernel.npy, attributions.parquet and attributed_groups.parquet. Started again, it goes on.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tinyllava_core.artifact import aside_of
from tinyllava_core.attribute.asked import Given, given_answers
from tinyllava_core.attribute.narrow import multiply
from tinyllava_core.attribute.sketch import Sketches
from tinyllava_core.attribute.store import questions, record_parts
from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, pick_device
from tinyllava_core.job import AttributeJob, Progress, TrainJob, tell, write_result
from tinyllava_core.results import AttributeResult
from tinyllava_core.train.__main__ import reading
from tinyllava_core.train.kept.gradients import write
from tinyllava_core.why import ends, scores


def main(arguments: list[str]) -> int:
    """Do a job. Exit code 2 and one line on stderr if the input is at fault."""
    try:
        attribute(AttributeJob.read(Path(arguments[-1])))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def attribute(job: AttributeJob) -> AttributeResult:
    """Make the store, then what is read of it most: the tails and the sums."""
    started, device = time.monotonic(), torch.device(pick_device(job.recipe.launch.device))
    answerer = Answerer(job.checkpoint, device=str(device))
    model, precision = answerer.loaded.model, job.recipe.training(job.stage).precision
    given = [one for evaluation in job.evaluations for one in given_answers(evaluation)]
    sketches = Sketches(model, hidden=job.hidden, error=job.error, side=job.side, layers=job.layers, seed=job.seed)
    if job.kept is not None:
        shutil.copy(job.kept, aside := aside_of(first := job.out / "records-00000000.parquet"))
        publish(aside, first)
    else:
        as_trained = TrainJob(
            stage=job.stage, recipe=job.recipe, shards=job.shards, plan=job.plan, start=None, out=job.out
        )
        packs = PlannedPacks(job.shards, job.plan, reading(as_trained))
        for done, total in record_parts(packs, job.plan, sketches, precision, device, job.out):
            tell(Progress(done=done, total=total, unit="steps"))
    write(questions(answerer, given, sketches, precision, device), job.out / "questions.parquet")
    seconds = time.monotonic() - started
    files = compare(job.out, given, job.damping)
    result = AttributeResult(
        stage=job.stage,
        layers="all" if job.layers else "head",
        in_run=job.kept is not None,
        num_records=sum(pq.read_metadata(file).num_rows for file in files),
        num_questions=len(given),
        num_numbers=job.hidden * job.error + (len(sketches.linear) * job.side**2),
        damping=job.damping,
        store_bytes=sum(file.stat().st_size for file in files),
        seconds=round(seconds, 2),
        score_seconds=round(time.monotonic() - started - seconds, 2),
    )
    write_result(job.out, job.kind, result)
    return result


def compare(home: Path, given: list[Given], damping: float) -> list[Path]:
    """Score every record for every answer and keep the ends of each ranking, and the sums -> the store's files."""
    files = scores.files(home)
    kernel = scores.kernel_of(files, damping)
    np.save(home / "kernel.npy", kernel)
    asked = pq.read_table(home / "questions.parquet")
    tails, groups = [], []
    for some, found in scores.some_at_once(files, asked, kernel, multiply()):
        tails.append(ends.tails(found, some, kernel, files))
        groups.append(scores.groups(found, some))
    write(pa.concat_tables(tails), home / "attributions.parquet")
    write(pa.concat_tables(groups), home / "attributed_groups.parquet")
    return files


if __name__ == "__main__":
    sys.exit(main(sys.argv))
