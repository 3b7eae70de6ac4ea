"""Read a big JSON array (or JSON lines) item by item, in little memory, with the line of a fault. It knows no records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tinyllava_core.errors import BadInput

_CHUNK = 1 << 20  # characters read at a time
_SPACE = " \t\r\n"


def json_items(path: Path) -> Iterator[Any]:
    """Give the values of a JSON array one by one, or of the lines of a file named *.jsonl (empty lines are passed over).

    Raises BadInput with file and line where the file is not UTF-8, not JSON or not an array.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix == ".jsonl":
                yield from _lines(path, file)
            else:
                yield from (value for _, value, _ in array_items(path, file))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such annotation file") from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}, line {_undecodable_line(path)}: not UTF-8 text ({error.reason}); save it as UTF-8"
        ) from None


def array_items(path: Path, file: TextIO, decoder: json.JSONDecoder | None = None) -> Iterator[tuple[int, Any, int]]:
    """Walk through an open file that holds one array -> first character, value, character behind the last, of each item.

    Raises BadInput with file and line on what is no array, or no JSON.
    """
    window = _Window(path, file, decoder or json.JSONDecoder())
    if window.next_character() != "[":
        raise BadInput(
            f"{path}, line {window.line()}: expected a JSON array (a list of records, '[' first); "
            "a file with one JSON object a line must be named *.jsonl"
        )
    window.at += 1
    if window.next_character() == "]":
        window.at += 1
    else:
        yield window.item()
        while (mark := window.next_character()) == ",":
            window.at += 1
            yield window.item()
        if mark != "]":
            raise _broken(
                path, window.line(), f"expected ',' or ']' after a record, found {mark or 'the end of the file'!r}"
            )
        window.at += 1
    if extra := window.next_character():
        raise _broken(path, window.line(), f"{extra!r} after the end of the array")


def _lines(path: Path, file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise _broken(path, number, f"{error.msg} at column {error.colno}") from None
        except RecursionError:
            raise _broken(path, number, "nested too deeply") from None
        except ValueError as error:  # a number of thousands of digits
            raise _broken(path, number, str(error).split(";")[0]) from None


class _Window:
    """The part of the text around the place that is being read; `at` is that place."""

    def __init__(self, path: Path, file: TextIO, decoder: json.JSONDecoder) -> None:
        self.at = 0
        self._path, self._file = path, file
        self._text = ""
        self._ended = False
        self._let_go = 0  # characters that stood before the text
        self._lines_before = 0  # line ends in them
        self._decoder = decoder

    def line(self, at: int | None = None) -> int:
        """Give the line number of a place of the window."""
        return 1 + self._lines_before + self._text.count("\n", 0, self.at if at is None else at)

    def next_character(self) -> str:
        """Go to the next character that is not a space and give it; "" at the end of the file."""
        while True:
            while self.at < len(self._text):
                if self._text[self.at] not in _SPACE:
                    return self._text[self.at]
                self.at += 1
            if not self._more():
                return ""

    def item(self) -> tuple[int, Any, int]:
        """Read the JSON value that starts at the next character -> its place in the file around it."""
        self.next_character()
        first = self._let_go + self.at
        return first, self._value(), self._let_go + self.at

    def _value(self) -> Any:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:
                if _may_be_cut(error, len(self._text)) and self._more():
                    continue
                raise _broken(self._path, self.line(error.pos), error.msg) from None
            except RecursionError:
                raise _broken(self._path, self.line(), "nested too deeply") from None
            except ValueError as error:  # a number of thousands of digits
                raise _broken(self._path, self.line(), str(error).split(";")[0]) from None
            if end >= len(self._text) - 2 and self._more():  # a number may go on, be it behind "1." or "1e+"
                continue
            self.at = end
            return value

    def _more(self) -> bool:
        """Let the text before `at` go and read on: at least as much as is kept, so that a long value costs no square."""
        if self._ended:
            return False
        added = self._file.read(max(_CHUNK, len(self._text) - self.at))
        if not added:
            self._ended = True
            return False
        self._let_go += self.at
        self._lines_before += self._text.count("\n", 0, self.at)
        self._text, self.at = self._text[self.at :] + added, 0
        return True


def _may_be_cut(error: json.JSONDecodeError, length: int) -> bool:
    """Tell whether the fault may only be that the window ends here: JSON's faults stand near it, but for an open string."""
    return error.pos >= length - 16 or error.msg.startswith("Unterminated string")


def _broken(path: Path, line: int, what: str) -> BadInput:
    return BadInput(f"{path}, line {line}: broken JSON: {what}; mend the file or download it again")


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    raise AssertionError("the file was not UTF-8 a moment ago")
