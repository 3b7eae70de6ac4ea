"""An evaluation by several processes: who answers which questions, and how their answers become one file.

Each rank writes a part of its own beside answers.jsonl. The first one puts parts into it, those that a killed life left
included, whatever the number of processes was then. Every rank must see the same folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.questions.questions import Question

_PATIENCE = timedelta(days=7)  # for the slowest rank; one that dies ends the others through their launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """Meet the other processes that the launcher started, if it started any."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_PATIENCE)
        return cls(rank=dist.get_rank(), world_size=dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Tell whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when every process is here."""
        if self.world_size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Part from the others."""
        if self.world_size > 1:
            dist.destroy_process_group()

    def share(self, questions: Sequence[Question]) -> list[Question]:
        """Give this rank's questions: pictures are dealt like cards, all questions about one to the same rank."""
        keys = [one.image if one.image is not None else f"question {place}" for place, one in enumerate(questions)]
        number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        pairs = zip(questions, keys, strict=True)
        return [one for one, key in pairs if number[key] % self.world_size == self.rank]


def part(answers: Path, rank: int) -> Path:
    """Say where a rank writes its answers."""
    return answers.with_name(f"{answers.stem}.part-{rank:05d}.jsonl")


def parts(answers: Path) -> list[Path]:
    """Find the parts of an answer file."""
    return sorted(answers.parent.glob(f"{answers.stem}.part-*.jsonl"))


def take_in_parts(answers: Path, questions: Sequence[Question], model_id: str) -> Journal:
    """Put all parts into the answer file and remove them. Killed on the way, it can be done again.

    Raises BadInput if one holds answers to other questions.
    """
    whole = Journal(answers, questions, model_id)
    for path in parts(answers):
        known, found = whole.texts, Journal(path, questions, model_id).texts
        new = [one for one in questions if one.question_id in found and one.question_id not in known]
        whole.add(new, [found[one.question_id] for one in new])
        path.unlink()
    return whole


class Tally:
    """Counts the answers of all ranks' parts, reading only what was added since the last time."""

    def __init__(self, answers: Path) -> None:
        self._answers = answers
        self._read: dict[Path, int] = {}  # bytes
        self._lines = 0

    def count(self) -> int:
        """Count whole lines."""
        for path in parts(self._answers):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                added = file.read()
            self._lines += added.count(b"\n")
            self._read[path] = self._read.get(path, 0) + len(added)
        return self._lines
