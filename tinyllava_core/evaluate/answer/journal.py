"""The answer file while it grows: a killed evaluation goes on, and each question is answered once.

LLaVA's layout, one JSON object a line, so that the benchmarks' official scripts read it. Not the answering itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import own_id, read_answers
from tinyllava_core.evaluate.questions.questions import Question, QuestionId, read_json_lines


class Journal:
    """The answers given so far to one benchmark's questions, on disk after each `add`."""

    def __init__(self, path: Path, questions: Sequence[Question], model_id: str) -> None:
        """Take up what an earlier life left; a last line that was cut off in the middle is dropped.

        Raises BadInput if the file holds answers to other questions, or is broken elsewhere.
        """
        self._path, self._questions, self._model_id = path, questions, model_id
        _drop_torn_line(path)
        empty = not path.exists() or path.stat().st_size == 0
        self._texts: dict[QuestionId, str] = {} if empty else read_answers(path)
        asked = {question.question_id: question.prompt for question in questions}
        for number, row in [] if empty else read_json_lines(path):
            question_id = own_id(row, f"{path}, line {number}")
            if asked.get(question_id) != row.get("prompt") or row.get("model_id") != model_id:
                raise BadInput(
                    f"{path}: holds an answer of another evaluation (question_id {question_id!r}); remove the file"
                )

    @property
    def texts(self) -> dict[QuestionId, str]:
        """Question id -> answer, of the questions answered so far."""
        return dict(self._texts)

    @property
    def num_answered(self) -> int:
        """Count the questions answered so far."""
        return len(self._texts)

    @property
    def left(self) -> list[Question]:
        """The questions without an answer, in order."""
        return [question for question in self._questions if question.question_id not in self._texts]

    def add(self, questions: Sequence[Question], texts: Sequence[str]) -> None:
        """Append answers; they are on the disk when this returns."""
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            for question, text in zip(questions, texts, strict=True):
                assert question.question_id not in self._texts, f"{question.question_id!r} was answered already"
                file.write(self._line(question, text))
            file.flush()
            os.fsync(file.fileno())
        self._texts |= {question.question_id: text for question, text in zip(questions, texts, strict=True)}

    def close(self) -> None:
        """Write the whole file anew, in the order of the questions."""
        assert not self.left, f"{len(self.left)} questions have no answer yet"
        lines = (self._line(question, self._texts[question.question_id]) for question in self._questions)
        write_aside(self._path, "".join(lines))

    def _line(self, question: Question, text: str) -> str:
        seed = json.dumps([self._model_id, question.question_id, question.text, text])
        theirs = question.llava_id
        row: dict[str, Any] = {
            "question_id": question.question_id if theirs is None else theirs,
            "prompt": question.prompt,
            "text": text,
            "answer_id": hashlib.sha256(seed.encode()).hexdigest()[
                :22
            ],  # LLaVA's is random: equal answers, equal files
            "model_id": self._model_id,
            "metadata": {} if theirs is None else {"question_id": question.question_id},  # ours is unique
        }
        return json.dumps(row, ensure_ascii=False) + "\n"


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
