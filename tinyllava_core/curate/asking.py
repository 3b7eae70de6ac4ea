"""Records put to a model behind any OpenAI-compatible endpoint: a rating of each, or a new caption of each picture.

The prompt is a file, its hash stands beside every reply. What was asked is kept on the disk as it comes in, so that a killed run goes on
and nothing is paid for twice; how much may be asked is said beforehand.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.curate.rows import Row
from tinyllava_core.curate.tariff import Asking, Tariff
from tinyllava_core.data.inspect.small import inline
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.judge import Judge, Refused

PLACES = ("{question}", "{answer}")
_PLACE = re.compile("|".join(map(re.escape, PLACES)))
MOST_REFUSED = 8  # replies in a row that the endpoint refuses: then it is not the records
CHARS_A_TOKEN = 4  # of English, about
MOST_BYTES = 1_000_000  # of a prompt: beyond what any model reads
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is asked of each record."""

    name: str  # of the column
    text: str
    max_tokens: int

    @classmethod
    def read(cls, name: str, path: Path, max_tokens: int) -> Prompt:
        """Read it. Raises BadInput if the file cannot be read, is empty or too large, or has other places than {question} and {answer}."""
        try:
            with path.open("rb") as file:  # a pipe is a prompt too, and a device without an end is none
                content = file.read(MOST_BYTES + 1)
            text = "" if len(content) > MOST_BYTES else content.decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"prompt {path}: cannot be read ({error}); expected a text file") from None
        if len(content) > MOST_BYTES:
            raise BadInput(
                f"prompt {path}: more than {MOST_BYTES // 1000:,} kB; expected a text file that says what to ask"
            )
        if not text:
            raise BadInput(
                f"prompt {path}: is empty; write what to ask, with {' and '.join(PLACES)} where a record's words go"
            )
        strange = next((place for place in re.findall(r"\{\w+\}", text) if place not in PLACES), None)
        if strange is not None:
            raise BadInput(f"prompt {path}: unknown place {strange}; there are {' and '.join(PLACES)}")
        return cls(name=name, text=text, max_tokens=max_tokens)

    @property
    def sha256(self) -> str:
        """Hash what is asked."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def messages(self, row: Row, jpegs: Sequence[bytes]) -> list[dict[str, Any]]:
        """Write the request for one record, its pictures in front."""
        words = dict(zip(PLACES, (row.asked, row.answered), strict=True))
        text = _PLACE.sub(lambda place: words[place[0]], self.text)  # once: a record's own words may hold a place
        shown = [{"type": "image_url", "image_url": {"url": inline(jpeg)}} for jpeg in jpegs]
        return [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of one record."""

    record_id: str
    text: str | None  # None: refused
    by: str  # model as it names itself, and the prompt's hash
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What asking costs, before anything is asked."""

    num_new: int
    num_kept: int
    num_chars: int  # of the new requests' words
    picture_bytes: int
    max_tokens: int  # of all new replies, at most

    num_pictures: int

    def told(self, tariff: Tariff) -> str:
        """Say it on one line."""
        asking = Asking(
            requests=self.num_new,
            sent=self.num_chars / CHARS_A_TOKEN + self.num_pictures * (tariff.a_picture or 0),
            back=self.max_tokens,
            pictures=self.num_pictures,
        )
        cost = f"; {asking.cost(tariff):,.2f} at most{asking.beside(tariff)}" if tariff.is_told else ""
        return (
            f"{self.num_new:,} requests to send ({self.num_kept:,} are kept already): {self.num_chars:,} characters, about {self.num_chars // CHARS_A_TOKEN:,} "
            f"tokens, and {self.picture_bytes / 1e6:.1f} MB of pictures; replies of {self.max_tokens:,} tokens at most{cost}"
        )


def price(judge: Judge, prompt: Prompt, rows: Iterable[Row], jpegs: Callable[[Row], Sequence[bytes]]) -> Price:
    """Count what would be asked."""
    new = kept = chars = size = pictures = 0
    for row in rows:
        shown = jpegs(row)
        messages = prompt.messages(row, shown)
        if judge.has(messages, temperature=0.0, max_tokens=prompt.max_tokens):
            kept += 1
        else:
            new, chars = new + 1, chars + len(messages[0]["content"][-1]["text"])
            size, pictures = size + sum(map(len, shown)), pictures + len(shown)
    return Price(
        num_new=new,
        num_kept=kept,
        num_chars=chars,
        picture_bytes=size,
        max_tokens=new * prompt.max_tokens,
        num_pictures=pictures,
    )


def bounded(
    workspace: Path,
    source: str,
    prompt: Prompt,
    rows: Sequence[Row],
    jpegs: Callable[[Row], Sequence[bytes]],
    at_most: int | None,
    tariff: Tariff,
) -> Judge | None:
    """Say what asking will cost -> the model to ask; None where that is all that is wanted (`at_most` None).

    Replies are kept in the workspace, under judged/. Raises BadInput if no model is named, or there is more to ask than allowed.
    """
    (home := workspace / "judged").mkdir(parents=True, exist_ok=True)
    judge = Judge.from_environment(home / f"{source}.jsonl")
    cost = price(judge, prompt, rows, jpegs)
    print(f"{prompt.name}: {judge.model}, prompt {prompt.sha256[:12]}: {cost.told(tariff)}", flush=True)
    if at_most is not None and cost.num_new > at_most:
        raise BadInput(
            f"{prompt.name}: {cost.num_new:,} new requests, and --at-most {at_most:,}; nothing was asked: raise it to pay for them"
        )
    return judge if at_most is not None else None


def ask(
    judge: Judge, prompt: Prompt, rows: Sequence[Row], jpegs: Callable[[Row], Sequence[bytes]], at_once: int
) -> list[Answered]:
    """Ask about each record, `at_once` at a time. A record that is refused is told as that; so many in a row raise BadInput."""
    in_a_row = 0
    found: list[Answered] = []

    def one(row: Row) -> Answered:
        try:
            reply = judge.reply(prompt.messages(row, jpegs(row)), temperature=0.0, max_tokens=prompt.max_tokens)
        except Refused as fault:
            by = f"{judge.model}, prompt {prompt.sha256[:12]}"
            return Answered(record_id=row.record_id, text=None, by=by, fault=str(fault))
        by = f"{reply.model}, prompt {prompt.sha256[:12]}"
        return Answered(
            record_id=row.record_id, text=reply.text.strip(), by=by, fault=None if reply.text.strip() else "empty"
        )

    with ThreadPoolExecutor(at_once) as pool:
        for first in range(
            0, len(rows), 4 * at_once
        ):  # a fault stops what is left: no more than these are on their way
            for answered in pool.map(one, rows[first : first + 4 * at_once]):
                in_a_row = in_a_row + 1 if answered.text is None else 0
                if in_a_row >= MOST_REFUSED:
                    raise BadInput(f"{in_a_row} records in a row were refused; the last: {answered.fault}")
                found.append(answered)
    return found


def number_in(text: str | None) -> float | None:
    """Read the first number of a reply; None if it has none that a float holds."""
    found = _NUMBER.search(text or "")
    return number if found and math.isfinite(number := float(found[0])) else None
