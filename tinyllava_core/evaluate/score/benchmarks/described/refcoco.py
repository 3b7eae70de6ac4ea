"""RefCOCO and its kin: the box of what a sentence means; right if it overlaps the right one by half.

Say which form of boxes a model was trained on: fractions of width and height in square brackets (lmms-eval, LLaVA), or
Qwen-VL's grid. One row of the file has several sentences; each is a question. Source: lmms-eval `refcoco/utils_rec.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import picture_sizes, write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question, key, shown
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.boxes import NOWHERE, Box, fractions, grid, holds_centre, overlap
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item
from tinyllava_core.evaluate.score.statistics import Measure, mean_measure

ASK = (
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right y). All "
    "values are floating point numbers bounded between 0 and 1. Please provide the bounding box coordinate of the region "
    "this sentence describes: "
)  # Source: lmms-eval
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
RIGHT = LEVELS.index(0.5)


def read(files: Files) -> list[Question]:
    """Read rows with question_id, answer (the sentences), bbox [left, top, width, height] in pixels, and the picture's size.

    The size: columns width and height (or image_width, image_height), else the picture's own, in a cell or on the disk. The id is
    `<row's id>-<sentence, from 0>`.
    """
    pictures, questions = Pictures(files), []
    sizes: list[tuple[int, int]] = []  # of the pictures in a table's cells
    for row in read_rows(files.annotations):
        name = row.text("question_id")
        images = pictures.of(row, name)
        if row.embedded and not row.has("width") and not row.has("image_width"):
            sizes = sizes or picture_sizes(files.annotations)
            box = _box(row, sizes[row.place])
        else:
            box = _box(row, _size(row, files.images, images))
        for number, sentence in enumerate(row.texts("answer")):
            questions.append(
                question_of(
                    row,
                    images,
                    question_id=f"{name}-{number}",
                    text=ASK + sentence,
                    stem=sentence,
                    gold=tuple(repr(side) for side in box),
                )
            )
    return questions


def _size(row: Row, places: ImagePlaces | None, images: Sequence[str]) -> tuple[int, int]:
    for width, height in (("width", "height"), ("image_width", "image_height")):
        if row.has(width) and row.has(height):
            return row.number(width), row.number(height)
    file = places.find(images[0]) if places and images else None
    if file is None:
        raise BadInput(f"{row.where}: no columns width and height, and no picture to measure; add them")

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            return picture.size
    except (OSError, UnidentifiedImageError):
        raise BadInput(f"{file}: is no picture; download it again") from None


def _box(row: Row, size: tuple[int, int]) -> Box:
    sides = key(row.cells, "bbox", list, row.where)
    if len(sides) != 4 or not all(isinstance(side, int | float) for side in sides) or min(size) < 1:
        raise BadInput(f"{row.where}: bbox = {shown(sides)} in {size}; expected left, top, width, height in pixels")
    left, top, width, height = sides
    return left / size[0], top / size[1], (left + width) / size[0], (top + height) / size[1]


def marking(parse: Callable[[str], Box]) -> Mark:
    """Make a rule of marking. counts: overlap, centre inside, and right at each level. Unparsed: no box found."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        items = []
        for question, text in zip(questions, in_order(questions, answers), strict=True):
            left, top, right, bottom = map(float, question.gold)
            said, gold = parse(text), (left, top, right, bottom)
            shared = overlap(gold, said)
            levels = [float(shared >= level) for level in LEVELS]
            counts = (min(1.0, max(0.0, shared)), float(holds_centre(gold, said)), *levels)
            parsed = " ".join(f"{side:g}" for side in said)
            items.append(item(question, parsed, levels[RIGHT], counts=counts, unparsed=said == NOWHERE))
        return items

    return mark


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the share right at one half, the mean overlap, the share of centres inside, and the other levels."""
    names = ("iou", "centre", *(f"accuracy@{level}" for level in LEVELS))
    columns = {name: [one.counts[place] for one in items] for place, name in enumerate(names)}
    head = "accuracy@0.5"
    return [mean_measure(name, columns[name]) for name in (head, *(name for name in names if name != head))]


REFCOCO = Benchmark(
    name="refcoco",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(parse), measures=measures)
        for name, meaning, parse in (
            ("lmms-eval", "the first [a, b, c, d], fractions of width and height", fractions),
            ("qwen-vl", "the first (x,y),(x,y) on a grid of 1,000", grid),
        )
    },
    default="lmms-eval",
    cluster="image",
    write_pictures=write_pictures,
)
