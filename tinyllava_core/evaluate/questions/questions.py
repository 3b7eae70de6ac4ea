"""The questions of a benchmark as values, the words that follow them, and official files read strictly: one line a fault.

Not the rules of any one benchmark (`benchmarks/<name>.py`), no answers (`answers.py`), and nothing that scores (`scoring.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import orjson

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput

QuestionId = int | str
T = TypeVar("T")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that may be half of a character
_SHOWN = 80  # characters of a value in an error text

SHORT_ANSWER = (
    "\nAnswer the question using a single word or phrase."  # Source: LLaVA's question files, all five of them
)
OPTION_LETTER = "\nAnswer with the option's letter from the given choices directly."  # Source: the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a benchmark's official files are."""

    annotations: Path
    images: ImagePlaces | None = None  # None: pictures are not looked for, their usual names are given
    questions: Path | None = None  # a second official file, for the benchmarks that have one
    asking: bool = True  # False: only to score; then texts that another file holds may be missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a benchmark, as the model is asked it."""

    question_id: QuestionId  # unique within the benchmark, of the official file's own type
    image: str | None  # relative to the image root; None: a question without a picture
    others: tuple[str, ...] = ()  # further pictures of a question about several, in their order
    text: str  # with the suffix, without the prompt format: LLaVA's `text`
    stem: str = ""  # its wording alone, where `text` adds more than the suffix: options, hints
    llava_id: QuestionId | None = None  # as LLaVA's answer files number it; None: by question_id
    llava_prompt: str = ""  # as LLaVA's answer files repeat it; "": as it is asked
    gold: tuple[str, ...]  # what the official file says is right: one label, ten humans, ...; empty: not public
    category: str = ""
    facets: tuple[str, ...] = ()  # names of the sub-scores that it counts in
    choices: tuple[str, ...] = ()  # texts of the options A, B, ...
    group: str = ""  # what it shares with others, where that is not its image
    context: str = ""  # what a judge is told besides

    @property
    def pictures(self) -> tuple[str, ...]:
        """List all its pictures."""
        return () if self.image is None else (self.image, *self.others)

    @property
    def prompt(self) -> str:
        """Give the prompt that stands in an answer file, where the authors' scripts look for it."""
        return self.llava_prompt or self.text

    @property
    def cluster(self) -> str:
        """Name what this question shares with others, so that their scores are not independent: its group or image."""
        if self.group:
            return self.group
        return self.image if self.image is not None else f"question {self.question_id}"


def check_unique(question_ids: Collection[QuestionId], where: str) -> None:
    """Raises BadInput, with the first of them, if an id occurs twice."""
    seen: set[QuestionId] = set()
    for question_id in question_ids:
        if question_id in seen:
            raise BadInput(f"{where}: question_id {question_id!r} occurs twice; answers could not be told apart")
        seen.add(question_id)


def check_images(questions: Sequence[Question], images: ImagePlaces) -> None:
    """Raises BadInput, with how many and the first, if pictures that the questions ask about are not on this disk."""
    named = list(dict.fromkeys(picture for question in questions for picture in question.pictures))
    missing = [image for image in named if images.find(image) is None]
    if missing:
        raise BadInput(
            f"{images.told()}: {len(missing)} of {len(named)} pictures of the benchmark are not there (the first: {missing[0]}); "
            "download them again, or name the folder that has them (data.local): a score without them would be another benchmark's"
        )


def picture_finder(images: ImagePlaces | None, folders: Iterable[str], endings: Iterable[str]) -> Callable[[str], str]:
    """Make a function: a picture's stem -> its path, in the first folder that has it.

    Where none has it (or no place is to be looked at), the first name is given.
    """

    @cache
    def find(stem: str) -> str:
        names = [f"{folder}{stem}{ending}" for folder in folders for ending in endings]
        return next((name for name in names if images is not None and images.find(name)), names[0])

    return find


def official(path: Path, pattern: str) -> Path:
    """Give the one file that `pattern` matches in a folder, or the path itself if it is a file. Raises BadInput."""
    if not path.is_dir():
        return path
    found = sorted(path.glob(pattern))
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise BadInput(f"{path}: expected exactly one file {pattern} in this folder, found {names}")
    return found[0]


def read_json(path: Path) -> Any:
    """Read one JSON file. Raises BadInput with the line of what is not JSON."""
    return _json(read_text(path), f"{path}, line {{line}}", "one JSON value in the whole file")


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a file of one JSON object a line -> (line number from 1, object). Raises BadInput with the line that is none."""
    content, empty = read_bytes(path), True
    _decoded(content, path)
    for number, line in enumerate(BytesIO(content), start=1):
        if line[:1] != b"{" and not line.decode().strip():
            continue
        row = read_row(line, f"{path}, line {number}", "one JSON object per line")
        if not isinstance(row, dict):
            raise BadInput(
                f"{path}, line {number}: found a JSON {type(row).__name__}; expected one JSON object per line"
            )
        empty = False
        yield number, row
    if empty:
        raise BadInput(f"{path}: the file is empty; expected one JSON object per line")


def read_row(row: bytes | msgspec.Raw, where: str, expected: str) -> Any:
    """Read one of many JSON values. Raises BadInput if it is none."""
    try:
        return orjson.loads(memoryview(row))
    except orjson.JSONDecodeError:  # json takes a few things more, and says what is wrong with the rest
        return _json(_decoded(bytes(row), where), where, expected)


def _json(text: str, place: str, expected: str) -> Any:
    """Parse JSON. `place`: how a fault is named; `{line}` in it: the line in the text."""

    def where(line: int) -> str:
        return place.replace("{line}", str(line))

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where(error.lineno)}: not JSON: {error.msg}; expected {expected}") from None
    except RecursionError:
        raise BadInput(f"{where(1)}: nested too deep to be read; expected {expected}") from None
    except ValueError:  # the interpreter's limit, against numbers that take minutes to read
        raise BadInput(f"{where(1)}: a number of thousands of digits; expected {expected}") from None
    if _HALF.search(text):
        _check_whole(value, where(1))
    return value


def _check_whole(value: Any, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise BadInput(
            f"{where}: holds {half!r}, half of a character, which no file can hold; write the text as UTF-8"
        ) from None


def key(row: Mapping[str, Any], name: str, kind: type[T] | tuple[type[T], ...], where: str) -> Any:
    """Give `row[name]`. Raises BadInput if it is missing or not of `kind`."""
    if name not in row:
        raise BadInput(f"{where}: key {name!r} is missing; found: {', '.join(map(str, row)) or 'nothing'}")
    value = row[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise BadInput(f"{where}: {name} = {shown(value)}; expected {names}")
    return value


def texts_of(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """Give `row[name]`, a list of texts. Raises BadInput on anything else."""
    values = key(row, name, list, where)
    if not all(isinstance(value, str) for value in values):
        raise BadInput(f"{where}: {name} = {shown(values)}; expected a list of texts")
    return tuple(values)


def rows_of(whole: Any, path: Path, expected: str) -> dict[str, dict[str, Any]]:
    """Check that a file is {id: {...}, ...}. Raises BadInput, with what was expected."""
    if not isinstance(whole, dict) or not all(isinstance(row, dict) for row in whole.values()):
        raise BadInput(f"{path}: expected {expected}")
    return whole


def shown(value: Any) -> str:
    """Write a value for an error text: on one line, and not all of a long one."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_text(path: Path) -> str:
    """Read a text file, its lines ended as Python ends them. Raises BadInput if it cannot be."""
    return _decoded(read_bytes(path), path).replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises BadInput if it cannot be."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


def _decoded(content: bytes, where: Path | str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: byte {error.start} is not UTF-8; expected a text file") from None
