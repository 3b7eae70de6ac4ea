"""`python -m tinyllava_core.attribute.retrain JOB.yaml ...`: train again without some records, and measure the same answers.

The plan is the stored one with records void at their places, so everything else of the training is what it was: with nothing void the
weights come out bit for bit. Leaves outcomes.parquet; the weights are taken away again, unless a job keeps them.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from transformers.utils import logging as transformers_logging

from tinyllava_core.artifact import file_sha256
from tinyllava_core.attribute.asked import given_answers, right_answers
from tinyllava_core.attribute.store import outcomes
from tinyllava_core.data.plan.again import smaller_plan, voided_plan
from tinyllava_core.data.plan.void import num_void
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, pick_device
from tinyllava_core.job import Progress, RetrainJob, read_result, tell, write_result
from tinyllava_core.results import RetrainResult, TrainResult
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.engines.ranks import rank


def main(arguments: list[str]) -> int:
    """Do some jobs, one after the other. Exit code 2 and one line on stderr if the input is at fault."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    jobs = [RetrainJob.read(Path(argument)) for argument in arguments]
    try:
        for number, job in enumerate(jobs, 1):
            if not (job.out / f"{job.kind}.json").is_file():
                retrain(job)
            tell(Progress(done=number, total=len(jobs), unit="trainings"))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def retrain(job: RetrainJob) -> None:
    """Train by the changed plan, measure, and leave the result."""
    started, home = time.monotonic(), job.out / "training"
    (plan := job.out / "plan").mkdir(exist_ok=True)
    if rank() == 0:
        planned = (
            voided_plan(job.train.plan, job.void, plan)
            if job.only is None
            else smaller_plan(job.train.plan, job.only, plan)
        )
    home.mkdir(exist_ok=True)
    run(job.train.model_copy(update={"plan": plan, "out": home}), [False])
    if rank() != 0:
        return
    trained = read_result(home, "train", TrainResult)
    device, precision = (
        pick_device(job.train.recipe.launch.device),
        job.train.recipe.training(job.train.stage).precision,
    )
    read = given_answers if job.answers == "given" else right_answers
    given = [one for evaluation in job.evaluations for one in read(evaluation)]
    told = outcomes(Answerer(home / "checkpoint", device=device), given, precision, torch.device(device))
    pq.write_table(told, job.out / "outcomes.parquet", compression="zstd")
    if job.keep_weights:
        shutil.copytree(home / "checkpoint", job.out / "checkpoint", dirs_exist_ok=True)
    result = RetrainResult(
        stage=job.train.stage,
        num_steps=trained.num_steps,
        num_records=len(planned),
        num_void=num_void(planned),
        last_loss=trained.last_loss,
        checkpoint_sha256=file_sha256(home / "checkpoint" / "model.safetensors"),
        seconds=round(time.monotonic() - started, 2),
    )
    write_result(job.out, job.kind, result)
    for folder in (home, plan):
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
