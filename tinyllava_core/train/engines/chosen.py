"""Which engine a recipe's launch section names, for a model that is ready to be trained."""

from __future__ import annotations

from tinyllava_core.job import HEAD, TrainJob
from tinyllava_core.model import trainable
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.train.engines.engine import Engine
from tinyllava_core.train.engines.fsdp import FsdpEngine
from tinyllava_core.train.engines.plain import TorchEngine
from tinyllava_core.train.engines.zero import DeepSpeedEngine
from tinyllava_core.train.kept.gradients import RecordGradients


def engine_and_gradients(model: TinyLlava, job: TrainJob) -> tuple[Engine, RecordGradients | None]:
    """Give the engine, and what keeps gradients where the recipe asks for it: made of a whole head, it looks on behind the engine's hooks."""
    asked = job.recipe.training(job.stage).keep_gradients
    gradients = RecordGradients(job.out, model.lm_head, HEAD) if asked else None
    engine = make_engine(model, job)
    if gradients:
        gradients.watch(model.lm_head)
    return engine, gradients


def make_engine(model: TinyLlava, job: TrainJob) -> Engine:
    """Choose the back that the recipe's launch section names."""
    training, launch = job.recipe.training(job.stage), job.recipe.launch
    groups = trainable.groups(model, training)
    if launch.zero_stage is not None:
        return DeepSpeedEngine(model, groups, training, launch)
    if launch.fsdp is not None:
        return FsdpEngine(model, groups, training, launch)
    return TorchEngine(model, groups, training)
