"""The door between the two halves: what a GPU process is told, and how it tells its progress. No torch here.

`tasks/running/launch.py` writes a job as YAML and starts `python -m tinyllava_core.<half> JOB.yaml`; the process answers with
progress lines on stdout and its result in `<out>/<kind>.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.frozen import Frozen
from tinyllava_core.recipe import Recipe, StageName

PROGRESS_MARK = "@progress "  # then one JSON object; every other line is log
HALVED_PACKS = "halved_packs"  # file in a training's folder
R = TypeVar("R")
Device = Literal["auto", "cpu", "cuda"]


class TrainJob(Frozen):
    """Train one stage: `python -m tinyllava_core.train JOB.yaml`. Continues from the newest checkpoint in `out`."""

    MODULE: ClassVar[str] = "tinyllava_core.train"
    VERSION: ClassVar[int] = 4  # raise when the same job gives another result than before
    kind: Literal["train"] = "train"
    stage: StageName
    recipe: Recipe
    shards: Path  # artifact folder of stage shard
    plan: Path  # artifact folder of stage plan
    start: Path | None  # checkpoint folder of the stage before; None: assemble the pretrained parts
    features: Path | None = None  # artifact folder of stage features; None: encode the images anew
    commits: dict[str, str] = Field({})  # hub name -> the commit that is loaded, where the part's row pins none
    out: Path  # artifact folder being made
    until: int | None = Field(
        None, ge=1
    )  # optimizer steps to take now, all lives together: measure, save, end. None: all

    @property
    def has_halved_packs(self) -> bool:
        """Whether a life of this training ran out of memory: the ones after it run packs of half the size."""
        return (self.out / HALVED_PACKS).exists()


class FeaturesJob(Frozen):
    """Keep the encoder's features of every image: `python -m tinyllava_core.train.features JOB.yaml`. Goes on in `out`."""

    MODULE: ClassVar[str] = "tinyllava_core.train.features"
    VERSION: ClassVar[int] = 1  # raise when the same job gives another result than before
    kind: Literal["features"] = "features"
    stage: StageName
    recipe: Recipe
    shards: Path  # artifact folder of stage shard
    commits: dict[str, str] = Field({})  # hub name -> the commit that is loaded, where the part's row pins none
    out: Path


class EvaluateJob(Frozen):
    """Answer one benchmark's questions and score them: `python -m tinyllava_core.evaluate.answer JOB.yaml [JOB.yaml ...]`.

    Several jobs of one checkpoint are one process, which loads it once.
    """

    MODULE: ClassVar[str] = "tinyllava_core.evaluate.answer"
    VERSION: ClassVar[int] = 5  # raise when the same job gives another result than before
    kind: Literal["evaluate"] = "evaluate"
    recipe: Recipe
    checkpoint: Path
    benchmark: str  # the manifest's name, for tables
    scorer: str  # key of evaluate/benchmarks' table
    variant: str | None = None  # one of its variants; None: its default
    annotations: Path  # official annotation file, or the folder of the official files
    images: ImagePlaces  # where its pictures are
    expected: int | None = None  # questions, where the manifest knows
    condition: str = "seen"  # what is done to every image: settings/condition.py
    out: Path


HEAD = {"hidden": 32, "error": 48, "seed": 0}  # of a head's gradient, in a store and in a training that keeps them


class AttributeJob(Frozen):
    """Keep what ties answers to records: `python -m tinyllava_core.attribute JOB.yaml`. Goes on in `out`."""

    MODULE: ClassVar[str] = "tinyllava_core.attribute"
    VERSION: ClassVar[int] = 2  # raise when the same job gives another result than before
    kind: Literal["attribute"] = "attribute"
    stage: StageName
    recipe: Recipe
    checkpoint: Path
    shards: Path
    plan: Path
    evaluations: tuple[Path, ...]  # artifact folders of stage evaluate, of this checkpoint: the answers
    kept: Path | None = None  # record_gradients.parquet of the training, which stands for a pass over the records
    layers: bool = False  # gradients of all linear layers of the language model too, by a backward pass
    hidden: int = Field(HEAD["hidden"], ge=1)  # numbers that a hidden state becomes
    error: int = Field(HEAD["error"], ge=1)  # numbers that an error vector becomes
    side: int = Field(16, ge=1)  # numbers that a layer's input becomes, and its error
    seed: int = HEAD["seed"]  # of the random matrices
    damping: float = Field(1.0, gt=0)  # of the kernel, in units of the mean eigenvalue
    out: Path


class RetrainJob(Frozen):
    """Train a stage once more without some records, and measure the same answers: `python -m tinyllava_core.attribute.retrain JOB.yaml ...`."""

    MODULE: ClassVar[str] = "tinyllava_core.attribute.retrain"
    VERSION: ClassVar[int] = 1
    kind: Literal["retrain"] = "retrain"
    train: TrainJob  # `out`: a folder that is taken away again
    void: tuple[str, ...] = ()  # record ids that weigh nothing, at their places
    only: tuple[str, ...] | None = None  # record ids that are planned anew, in their order; None: all
    evaluations: tuple[Path, ...]
    answers: Literal["given", "right"] = "given"  # by the first training, or the right ones
    keep_weights: bool = False  # leave the trained checkpoint
    out: Path


class MergeJob(Frozen):
    """Measure weighted means of checkpoints by the right answers: `python -m tinyllava_core.attribute.merge JOB.yaml`. Goes on in `out`."""

    MODULE: ClassVar[str] = "tinyllava_core.attribute.merge"
    VERSION: ClassVar[int] = 1
    kind: Literal["merge"] = "merge"
    stage: StageName
    recipe: Recipe
    checkpoints: tuple[Path, ...]  # of one architecture
    mixes: tuple[tuple[float, ...], ...]  # the weight of each checkpoint in each mean
    evaluations: tuple[Path, ...]
    out: Path


class ExportJob(Frozen):
    """Export a checkpoint: `python -m tinyllava_core.export JOB.yaml`."""

    MODULE: ClassVar[str] = "tinyllava_core.export"
    VERSION: ClassVar[int] = 3  # raise when the same job gives another result than before
    kind: Literal["export"] = "export"
    recipe: Recipe
    checkpoint: Path
    out: Path


class AskJob(Frozen):
    """Answer one question, or a file of them: `python -m tinyllava_core.evaluate.answer.ask JOB`, the job as JSON."""

    MODULE: ClassVar[str] = "tinyllava_core.evaluate.answer.ask"
    checkpoint: Path  # its folder, or the artifact folder of a trained stage
    images: tuple[Path, ...] = ()
    question: str = ""
    batch: Path | None = None  # a file of questions, instead of one question
    out: Path | None = None  # where the answers to `batch` go
    batch_size: int = 16  # questions answered together
    max_new_tokens: int = 128
    device: Device = "auto"


class SimilarityJob(Frozen):
    """Compare a source's pictures with their words: `python -m tinyllava_core.evaluate.answer.similar JOB`, the job as JSON."""

    MODULE: ClassVar[str] = "tinyllava_core.evaluate.answer.similar"
    source: str
    inspected: Path  # artifact folder of stage inspect
    images: ImagePlaces
    model: str  # a CLIP or SigLIP: hub name or folder
    device: Device = "auto"
    out: Path  # a Parquet file


class Pictures(Frozen):
    """The pictures of a source or a benchmark that was inspected."""

    name: str
    inspected: Path  # artifact folder of stage inspect
    images: ImagePlaces


class AlikeJob(Frozen):
    """Find pictures that show the same: `python -m tinyllava_core.evaluate.answer.alike JOB`, the job as JSON."""

    MODULE: ClassVar[str] = "tinyllava_core.evaluate.answer.alike"
    encoder: str  # a key of the table of encoders
    pictures: Pictures
    against: tuple[Pictures, ...] = ()
    above: float  # cosine from which two are alike
    kept: Path  # folder of vectors
    device: Device = "auto"
    out: Path  # a Parquet file


class ChatJob(Frozen):
    """Serve a page to talk on: `python -m tinyllava_core.evaluate.answer.chat JOB`, the job as JSON."""

    MODULE: ClassVar[str] = "tinyllava_core.evaluate.answer.chat"
    checkpoint: Path  # its folder, or the artifact folder of a trained stage
    host: str = "127.0.0.1"
    port: int = 7860  # 0: any free one
    starters: tuple[str, ...] = ()  # what the page offers to ask; none: what any model may be asked
    max_new_tokens: int = 256
    device: Device = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a GPU process is: one line of its stdout."""

    done: int
    total: int
    unit: str  # steps | questions
    note: str = ""  # e.g. "loss 1.23"

    def line(self) -> str:
        """Write this as a progress line."""
        return PROGRESS_MARK + json.dumps(dataclasses.asdict(self))

    @classmethod
    def parse(cls, line: str) -> Progress | None:
        """Read a line of a process; None if it is not a progress line."""
        if not line.startswith(PROGRESS_MARK):
            return None
        return cls(**json.loads(line.removeprefix(PROGRESS_MARK)))


def obey(do: Callable[[], object]) -> int:
    """Do a job -> its process's exit code: 2, and one line on stderr, if the input is at fault."""
    try:
        do()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def tell(progress: Progress) -> None:
    """Tell the process that started this one how far it is. A log that takes nothing more does not end the work."""
    with contextlib.suppress(OSError):
        print(progress.line(), file=sys.stdout, flush=True)


def write_result(out: Path, kind: str, result: Any) -> None:
    """Leave a job's result dataclass as `<out>/<kind>.json`."""
    write_aside(out / f"{kind}.json", json.dumps(dataclasses.asdict(result), indent=1))


def read_result(out: Path, kind: str, result: type[R]) -> R:
    """Read what `write_result` left. Raises BadInput if the process left nothing."""
    path = out / f"{kind}.json"
    if not path.is_file():
        raise BadInput(f"{path}: the {kind} process ended without leaving its result; see {out / 'log.txt'}")
    return result(**json.loads(path.read_text()))


def is_done(todo: EvaluateJob) -> bool:
    """Tell whether an evaluation has left its result."""
    return (todo.out / f"{todo.kind}.json").is_file()


def write_seconds(out: Path, seconds: float) -> None:
    """Note how long an evaluation took, where one process does several: not part of its result, which is the same each time."""
    write_aside(out / "seconds.json", json.dumps(round(seconds, 3)))


def read_seconds(out: Path) -> float:
    """Read what `write_seconds` left."""
    return float(json.loads((out / "seconds.json").read_text()))
