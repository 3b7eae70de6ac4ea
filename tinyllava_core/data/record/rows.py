"""Parsers of shapes whose rows hold questions and answers in columns: FineVision's texts, captions, PixMo, prompts lists."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from tinyllava_core.data.record.record import Malformed, Record, Score, Turn
from tinyllava_core.data.record.values import a_list, a_text, an_object, make_record, pictures_of, tags_in_front

_RATINGS, _LOWEST = "_ratings", "_min"
_LARGEST = 1e15  # beyond it a number is no rating, place or count


def parse_texts(source: str, index: int, item: Any) -> Record:
    """Read `images` and `texts` (user and assistant each): FineVision, the Cauldron, Docmatix.

    All pictures stand in front of the first question, unless its texts have tags. Ratings, a list of them for each turn or
    null, become scores; none drops a turn. Source of both: nanoVLM, data/datasets.py.
    """
    item = an_object(item)
    texts = item.get("texts")
    if texts is not None and not isinstance(texts, list):
        raise Malformed(f"texts: expected a list, found {type(texts).__name__}")
    turns = list[Turn]()
    for number, text in enumerate(texts or ()):
        if not isinstance(text, dict):
            raise Malformed(f"texts[{number}]: expected an object, found {type(text).__name__}")
        turns.append(Turn(role="user", text=a_text(text, "user", f"texts[{number}].user")))
        turns.append(Turn(role="assistant", text=a_text(text, "assistant", f"texts[{number}].assistant")))
    images = pictures_of(item, "images", "image")
    turns = tags_in_front(turns, len(images))
    return make_record(source, index, item, images, turns, _scores(item, len(texts or ())))


def _scores(item: dict[str, Any], num_answers: int) -> tuple[Score, ...]:
    found = []
    for key in [key for key in item if key.endswith(_RATINGS)]:
        name = key.removesuffix(_RATINGS)
        ratings = item[key] if item[key] is not None else [None] * num_answers
        if not isinstance(ratings, list) or not all(one is None or _is_number(one) for one in ratings):
            raise Malformed(f"{key}: expected numbers, found {item[key]!r:.80}")
        if len(ratings) != num_answers:
            raise Malformed(f"{key}: {len(ratings)} ratings for {num_answers} turns")
        lowest = item.get(name + _LOWEST)
        if lowest is not None and not _is_number(lowest):
            raise Malformed(f"{name}{_LOWEST}: expected a number, found {lowest!r:.40}")
        if lowest is None:
            lowest = min((one for one in ratings if one is not None), default=None)
        found.append(Score(name=name, of_record=lowest, of_answers=tuple(ratings)))
    return tuple(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def parse_prompts(source: str, index: int, item: Any) -> Record:
    """Read `images`, `prompts` and `captions`, lists of texts or lists of such lists: LLaVA-OneVision-2's turns.

    Without prompts each caption answers the picture alone. Source: LLaVA-OneVision-2, its data documentation.
    """
    item = an_object(item)
    answers = list(_flat(a_list(item, "captions"), "captions"))
    prompts = a_list(item, "prompts") if item.get("prompts") is not None else []
    questions = list(_flat(prompts, "prompts")) or [""] * len(answers)
    if len(questions) != len(answers):
        raise Malformed(f"{len(questions)} prompts for {len(answers)} captions")
    return _asked(source, index, item, zip(questions, answers, strict=True), "images", "image")


def _flat(values: list[Any], where: str) -> Iterable[str]:
    flat = list(chain.from_iterable(value if isinstance(value, list) else [value] for value in values))
    if not all(isinstance(value, str) for value in flat):
        raise Malformed(f"{where}: expected texts, or lists of texts, found {values!r:.80}")
    return flat


_PATHS = ("image", "images", "image_path", "file_name", "filename", "image_sha256")
CAPTIONS, ANSWERS = ("caption", "text"), ("answer", "answers")


def parse_captions(source: str, index: int, item: Any) -> Record:
    """Read a picture and its `caption` (or `text`): tables of two columns, COCO's captions, PixMo's, WebDataset's pairs."""
    item = an_object(item)
    key = next((key for key in CAPTIONS if key in item), CAPTIONS[0])
    caption = a_text(item, key, key)
    images = _named(item)
    turns = [Turn(role="user", text=""), Turn(role="assistant", text=caption)]
    return make_record(source, index, item, images, tags_in_front(turns, len(images)))


def parse_questions(source: str, index: int, item: Any) -> Record:
    """Read `question` and `answer`, or lists of them, or `questions` as two lists of one length (PixMo's documents)."""
    item = an_object(item)
    holder = item["questions"] if isinstance(item.get("questions"), dict) else item
    key = next((key for key in ANSWERS if key in holder), ANSWERS[0])
    asked, answered = holder.get("question"), holder.get(key)
    questions, answers = ([one] if isinstance(one, str) else one for one in (asked, answered))
    if not (isinstance(questions, list) and isinstance(answers, list) and len(questions) == len(answers)):
        raise Malformed(f"question: expected as many as there are answers, found {asked!r:.60} and {answered!r:.60}")
    pairs = zip(_flat(questions, "question"), _flat(answers, key), strict=True)
    return _asked(source, index, item, pairs, *_PATHS)


def parse_triples(source: str, index: int, item: Any) -> Record:
    """Read a list of a question, its answer and the picture's number or path: easy-VQA. A number is a path without its ending."""
    if not is_triple(item):
        raise Malformed(f"expected a list of a question, an answer and a picture's number, found {item!r:.80}")
    question, answer, picture = item
    turns = [Turn(role="user", text=question), Turn(role="assistant", text=answer)]
    return make_record(source, index, item, (str(picture),), tags_in_front(turns, 1))


def is_triple(item: Any) -> bool:
    """Tell whether an item is a list of two texts and a picture's number or path."""
    return (
        isinstance(item, list)
        and [type(one) for one in item[:2]] == [str, str]
        and len(item) == 3
        and type(item[2]) in (int, str)
    )


def parse_points(source: str, index: int, item: Any) -> Record:
    """Read PixMo's points (`label`, `points`, from 0 to 100) and counts (`label`, `count`): asked for by their label.

    The answer writes points as Molmo does; where nothing is there it says so. Source: Molmo, data/pixmo_datasets.py.
    """
    item = an_object(item)
    label, count = a_text(item, "label", "label"), item.get("count")
    points = _points(item.get("points"))
    if item.get("collection_method") == "counting" or (not points and count):
        if not _is_number(count):
            raise Malformed(f"count: expected a number, found {count!r:.40}")
        pair = (f"How many {label} are there?", f"{count:.0f}")
    elif points:
        places = " ".join(
            f'x{number}="{x:.1f}" y{number}="{y:.1f}"' if len(points) > 1 else f'x="{x:.1f}" y="{y:.1f}"'
            for number, (x, y) in enumerate(points, 1)
        )
        word = "points" if len(points) > 1 else "point"
        pair = (f"Point to {label}.", f'<{word} {places} alt="{label}">{label}</{word}>')
    else:
        pair = (f"Point to {label}.", "There are none.")
    return _asked(source, index, item, [pair], *_PATHS)


def _points(value: Any) -> list[tuple[float, float]]:
    """Read points, which come as a list of places or as a place of lists."""
    pairs: list[tuple[Any, Any]]
    if isinstance(value, dict):
        xs, ys = value.get("x"), value.get("y")
        if not (isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys)):
            raise Malformed(f"points: expected as many x as y, found {value!r:.80}")
        pairs = list(zip(xs, ys, strict=True))
    elif value is not None and not isinstance(value, list):
        raise Malformed(f"points: expected a list, found {type(value).__name__}")
    else:
        pairs = [(one.get("x"), one.get("y")) if isinstance(one, dict) else (None, None) for one in value or ()]
    if not all(_is_number(x) and _is_number(y) for x, y in pairs):
        raise Malformed(f"points: expected places with x and y, found {value!r:.80}")
    return pairs


def _named(item: dict[str, Any]) -> tuple[str, ...]:
    return pictures_of(item, *_PATHS)


def _asked(source: str, index: int, item: dict[str, Any], pairs: Iterable[tuple[str, str]], *keys: str) -> Record:
    turns = list[Turn]()
    for question, answer in pairs:
        turns += [Turn(role="user", text=question), Turn(role="assistant", text=answer)]
    images = pictures_of(item, *keys)
    return make_record(source, index, item, images, tags_in_front(turns, len(images)))
