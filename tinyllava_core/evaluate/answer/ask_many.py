"""Answer a file of questions into a file of answers, a line for a line; a killed run goes on where it was. It scores nothing.

A question: {"question": "...", "image": "a.jpg" | ["a.jpg", "b.jpg"] | null}, pictures from the file's own folder; other
keys come out again as they were. An answer is the question's line with "answer" added.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput, is_no_text
from tinyllava_core.evaluate.answer.answer import Answerer, Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of a file of questions."""

    where: str  # file and line, for faults
    row: dict[str, Any]  # as it was written
    question: str
    images: tuple[Path, ...]


def read_requests(path: Path) -> list[Request]:
    """Read and check every line. Raises BadInput, with the line, for one that is no question or names no file."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: a text may hold U+2028
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; expected one question a line, as JSON") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}; expected one question a line, as JSON") from None
    found = [
        _request(line, f"{path}, line {number}", path.parent) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not found:
        raise BadInput(f"{path}: holds no question; expected one a line, as JSON")
    return found


def ask_many(answerer: Answerer, requests: Sequence[Request], out: Path, batch_size: int, max_new_tokens: int) -> None:
    """Append the answers that `out` does not have yet, in the file's order, each batch on the disk before the next.

    Raises BadInput if `out` holds answers to other questions, or a picture cannot be read.
    """
    done = _answered(out, requests)
    with out.open("a", encoding="utf-8", newline="\n") as file:
        for first in range(done, len(requests), batch_size):
            batch = requests[first : first + batch_size]
            asked = [_asked(answerer, request) for request in batch]
            answers = answerer.answer(asked, max_new_tokens)
            file.writelines(_line(request, answer) for request, answer in zip(batch, answers, strict=True))
            file.flush()
            print(f"{first + len(batch)} of {len(requests)} answered", file=sys.stderr)
    if done == len(requests):
        print(f"{out}: every question was answered before", file=sys.stderr)


def _request(line: str, where: str, folder: Path) -> Request:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where}: expected an object with question and image, found {type(row).__name__}")
    question, image = row.get("question"), row.get("image")
    if not isinstance(question, str) or not question.strip():
        raise BadInput(f"{where}: question = {question!r}; expected a text")
    if is_no_text(question):
        raise BadInput(
            f"{where}: question = {question!r}: half of a surrogate pair, which is no character; take it out"
        )
    if "answer" in row:
        raise BadInput(f"{where}: has an answer already; expected a question and its image")
    names = [] if image is None else [image] if isinstance(image, str) else image
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{where}: image = {image!r}; expected a path, a list of paths, or null")
    images = tuple(folder / name for name in names)
    for path in images:
        if not path.is_file():
            raise BadInput(f"{where}: {path}: no such file; pictures are looked for from the questions' own folder")
    return Request(where=where, row=row, question=question, images=images)


def _asked(answerer: Answerer, request: Request) -> Asked:
    try:
        pictures = tuple(map(answerer.picture, request.images))
    except BadInput as error:
        raise BadInput(f"{request.where}: {error}") from None
    return Asked(ids=answerer.ids(request.question, [one.size for one in pictures]), pictures=pictures)


def _line(request: Request, answer: str) -> str:
    line = json.dumps({**request.row, "answer": answer}, ensure_ascii=False) + "\n"
    return line if not is_no_text(line) else json.dumps({**request.row, "answer": answer}) + "\n"


def _answered(out: Path, requests: Sequence[Request]) -> int:
    """Count the answers in `out`, of an earlier life; a last line that was cut off in the middle is dropped."""
    if not out.exists():
        return 0
    with out.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
    lines = content[:whole].decode("utf-8", errors="replace").split("\n")[:-1]
    for number, (line, request) in enumerate(zip(lines, requests, strict=False), 1):
        if _question_of(line) != request.row:
            raise BadInput(f"{out}, line {number}: is no answer to {request.where}; name another --out, or remove it")
    if len(lines) > len(requests):
        raise BadInput(f"{out}: {len(lines)} answers to {len(requests)} questions; name another --out, or remove it")
    return len(lines)


def _question_of(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return {key: value for key, value in row.items() if key != "answer"} if isinstance(row, dict) else None
