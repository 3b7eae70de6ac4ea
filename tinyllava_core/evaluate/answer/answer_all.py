"""Ask a checkpoint all questions of a benchmark: in batches of about equal length, each kept before the next is asked.

It decides the order and reads the pictures; how a batch is answered is answer.py's, what an answer is worth scoring.py's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import ANY_SIZE, Answerer, Asked, Shown, Size
from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.job import Progress
from tinyllava_core.settings.condition import Condition

Batch = list[tuple[Question, list[int]]]  # each question with its ids

_ABOUT = 64  # tokens that two prompts of a batch may differ by, so that questions about one picture can stand together
_PICTURES = 128  # kept decoded, of 0.4 MB each


def answer_all(
    answerer: Answerer,
    journal: Journal,
    images: ImagePlaces,
    *,
    condition: Condition,
    batch_size: int,
    max_new_tokens: int,
    on_progress: Callable[[Progress], None],
    total: int | None = None,
    count: Callable[[], int] | None = None,
) -> None:
    """Answer what the journal has no answer to. What is blanked or corrupted has as many tokens as what is seen.

    `total`, `count`: of all processes, where this one answers a share; without them, of the journal alone.
    """
    count = count or (lambda: journal.num_answered)
    left = journal.left
    total = journal.num_answered + len(left) if total is None else total
    started, before = time.monotonic(), count()
    picture, size = _reader(answerer, images, condition), _sizer(answerer, images)

    def read(batch: Batch) -> list[Asked]:
        return [_asked(question, ids, picture) for question, ids in batch]

    for batch, asked in _read_ahead(batches(answerer, left, batch_size, size), read):
        journal.add([question for question, _ in batch], answerer.answer(asked, max_new_tokens))
        done = count()
        rate = (done - before) / (time.monotonic() - started)
        on_progress(Progress(done=done, total=total, unit="questions", note=f"{rate:.1f} per second"))


def batches(
    answerer: Answerer, questions: Sequence[Question], batch_size: int, size: Callable[[str], Size]
) -> list[Batch]:
    """Cut questions into batches, longest prompts first (what does not fit fails at once), one picture's side by side."""
    asked = [
        (question, answerer.ids(question.text, [size(name) for name in question.pictures])) for question in questions
    ]
    asked.sort(key=lambda pair: (-(len(pair[1]) // _ABOUT), pair[0].image or "", -len(pair[1])))
    return [asked[start : start + batch_size] for start in range(0, len(asked), batch_size)]


def _asked(question: Question, ids: list[int], picture: Callable[[str], tuple[str, Shown]]) -> Asked:
    seen = [picture(name) for name in question.pictures]
    return Asked(ids=ids, pictures=tuple(shown for _, shown in seen), names=tuple(name for name, _ in seen))


def _reader(answerer: Answerer, images: ImagePlaces, condition: Condition) -> Callable[[str], tuple[str, Shown]]:
    """Make a function: an image of the benchmark -> its name for the encoder, and what the model is shown of it.

    The name says which file it is and what was done to it: another benchmark's picture never has it.
    """

    @lru_cache(maxsize=_PICTURES)
    def read(image: str) -> tuple[str, Shown]:
        if condition.blind:
            shown = answerer.blank(_sizer(answerer, images)(image))
            return "blank {}x{}".format(*shown.size), shown
        file = _file(images, image)
        return f"{condition.word} {image} {file.resolve()}", answerer.picture(file, condition, name=image)

    return read


def _sizer(answerer: Answerer, images: ImagePlaces) -> Callable[[str], Size]:
    """Make a function: an image of the benchmark -> its size, where that decides how many tokens it is."""
    if answerer.loaded.scheme.is_fixed:
        return lambda image: ANY_SIZE
    return lambda image: answerer.size(_file(images, image))


def _file(images: ImagePlaces, image: str) -> Path:
    file = images.find(image)
    if file is None:
        raise BadInput(f"{image}: was there when the evaluation began, is gone now: {images.told()}")
    return file


def _read_ahead(batches: Sequence[Batch], read: Callable[[Batch], list[Asked]]) -> Iterator[tuple[Batch, list[Asked]]]:
    """Decode the next batch's pictures while the model answers this one's."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = [reader.submit(read, batch) for batch in batches[:1]]
        for place, batch in enumerate(batches):
            ready = coming.pop().result()
            coming += [reader.submit(read, following) for following in batches[place + 1 : place + 2]]
            yield batch, ready
