"""Answer a file of questions into a file of answers, a line for a line; a killed run goes on where it was. It scores nothing.

A question: {"question": "...", "image": "a.jpg" | ["a.jpg", "b.jpg"] | null}, pictures from the file's own folder; other
keys come out again as they were. An answer is the question's line with "answer" added.
"""

from __future__ import annotations

import fcntl
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


def check_out(out: Path, batch: Path, requests: Sequence[Request]) -> None:
    """Raise BadInput unless answers may be written to `out`: nothing there yet, or answers to these questions. It changes nothing."""
    if not out.parent.is_dir():
        raise BadInput(f"--out {out}: no folder {out.parent}; make it, or name another file")
    if not out.exists():
        return
    if not out.is_file():
        raise BadInput(f"--out {out}: is no regular file; name another, where the answers are kept as they come")
    if out.samefile(batch):
        raise BadInput(f"--out {out}: are the questions themselves; name another file for the answers")
    _answered(out, out.read_bytes(), requests)


def ask_many(answerer: Answerer, requests: Sequence[Request], out: Path, batch_size: int, max_new_tokens: int) -> None:
    """Append the answers that `out` does not have yet, in the file's order, each batch on the disk before the next.

    Raises BadInput if `out` holds anything but answers to these questions, another command is writing there, or a picture cannot
    be read.
    """
    with out.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                f"{out}: another command is writing answers there; wait for its end, or name another --out"
            ) from None
        file.seek(0)
        done, whole = _answered(out, file.read(), requests)
        file.truncate(whole)
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


def _line(request: Request, answer: str) -> bytes:
    row = {**request.row, "answer": answer}
    line = json.dumps(row, ensure_ascii=False)
    return f"{json.dumps(row) if is_no_text(line) else line}\n".encode()


def _answered(out: Path, content: bytes, requests: Sequence[Request]) -> tuple[int, int]:
    """Count the answers in `out`, of an earlier life, and their bytes; behind them only a line of ours may begin that a kill cut off.

    Raises BadInput, before anything is cut, if there is anything else.
    """
    *lines, torn = content.split(b"\n")
    for number, (line, request) in enumerate(zip(lines, requests, strict=False), 1):
        if _question_of(line) != request.row:
            raise BadInput(f"{out}, line {number}: is no answer to {request.where}; name another --out, or remove it")
    if len(lines) > len(requests):
        raise BadInput(f"{out}: {len(lines)} answers to {len(requests)} questions; name another --out, or remove it")
    torn = torn.rstrip(b"\0")  # what a power cut may leave of a line
    if torn and not (len(lines) < len(requests) and _may_begin(torn, requests[len(lines)])):
        raise BadInput(
            f"{out}, line {len(lines) + 1}: has no line end, and is no answer that was cut off; name another --out, or remove it"
        )
    return len(lines), len(content) - len(content.rpartition(b"\n")[2])


def _may_begin(torn: bytes, request: Request) -> bool:
    """Tell whether an answer's line was cut off there."""
    begins = _line(request, "").removesuffix(b'"}\n')
    escaped = json.dumps({**request.row, "answer": ""}).encode().removesuffix(b'"}')  # where the answer was no text
    return any(torn.startswith(one) or one.startswith(torn) for one in (begins, escaped))


def _question_of(line: bytes) -> dict[str, Any] | None:
    """Give the question of an answer's line; None: it is none."""
    try:
        row = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("answer"), str):
        return None
    return {key: value for key, value in row.items() if key != "answer"}
