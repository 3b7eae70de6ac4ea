"""CHAIR: which of the objects that a caption names are in the picture? Object hallucination in free descriptions.

CHAIR_i is the share of named objects that are not there, CHAIR_s the share of captions with at least one such, recall the
share of the picture's objects that are named; for the first two, lower is better. What is there: COCO's instances, and what
the five human captions name. The words that name an object are our own short list (`chair_objects.yaml`, which says its
limits), so numbers compare with each other, not with published ones. Source: Rohrbach et al. 2018, arXiv 1809.02156.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import (
    Files,
    Question,
    check_unique,
    key,
    official,
    picture_finder,
    read_json,
    read_json_lines,
    shown,
)
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure, mean_measure
from tinyllava_core.frozen import read_yaml

ASK = "Please describe this image in detail."
NUM_PICTURES, SEED = 500, 0  # of val2014, where the questions file does not say which
OBJECTS = Path(__file__).with_name("chair_objects.yaml")
_MAX_DIGITS = 12  # of a picture's number
_WORD = re.compile(r"[a-z]+(?:[-'][a-z]+)*")


def read(files: Files) -> list[Question]:
    """Read COCO's `instances_*.json` and `captions_*.json` from one folder.

    Which pictures: those of the questions file (JSON lines with a question_id or image_id that is COCO's), else a seeded
    sample of 500. A picture's objects are the gold. Raises BadInput on another shape, or a picture without annotations.
    """
    if not files.annotations.is_dir():
        raise BadInput(f"{files.annotations}: expected the folder with COCO's instances_*.json and captions_*.json")
    instances = _coco(official(files.annotations, "instances_*.json"), "categories")
    captions = _coco(official(files.annotations, "captions_*.json"), "annotations")
    _check(
        instances,
        files.annotations,
        images=("id", "file_name"),
        categories=("id", "name"),
        annotations=("image_id", "category_id"),
    )
    _check(captions, files.annotations, annotations=("image_id", "caption"))
    category = {row["id"]: row["name"] for row in instances["categories"]}
    unknown = sorted(set(category.values()) - set(_objects()[0]))
    if unknown:
        raise BadInput(
            f"{files.annotations}: categories {', '.join(unknown)} are not among COCO's 80 in {OBJECTS.name}"
        )
    there: dict[int, set[str]] = {row["id"]: set() for row in instances["images"]}
    for row in instances["annotations"]:
        if row["image_id"] not in there or row["category_id"] not in category:
            raise BadInput(
                f"{files.annotations}: an annotation is of picture {row['image_id']}, category {row['category_id']}, "
                "which the file does not list; is it whole?"
            )
        there[row["image_id"]].add(category[row["category_id"]])
    captioned: dict[int, list[str]] = {}
    for row in captions["annotations"]:
        captioned.setdefault(row["image_id"], []).append(row["caption"])
    names = {row["id"]: row["file_name"] for row in instances["images"]}
    image = picture_finder(files.images, ("", "val2014/"), ("",))
    return [_question(image_id, names, there, captioned, image) for image_id in _pictures(files, sorted(names))]


def _coco(path: Path, name: str) -> dict[str, Any]:
    whole = read_json(path)
    if not isinstance(whole, dict) or not isinstance(whole.get(name), list) or "images" not in whole:
        raise BadInput(f"{path}: expected COCO's {{images, annotations, ...}} with {name}; use the 2014 annotations")
    return whole


def _check(whole: dict[str, Any], where: Path, **lists: tuple[str, str]) -> None:
    """Raises BadInput unless each named list holds objects with these two keys: numbers, but for the texts among them."""
    for name, keys in lists.items():
        for place, row in enumerate(key(whole, name, list, str(where))):
            if not isinstance(row, dict):
                raise BadInput(f"{where}: {name}[{place}] is a JSON {type(row).__name__}; expected an object")
            for one in keys:
                key(row, one, str if one in ("name", "file_name", "caption") else int, f"{where}: {name}[{place}]")


def _pictures(files: Files, known: Sequence[int]) -> list[int]:
    if files.questions is None:
        return sorted(random.Random(SEED).sample(known, min(NUM_PICTURES, len(known))))
    chosen, there = [], set(known)
    for number, row in read_json_lines(files.questions):
        where = f"{files.questions}, line {number}"
        image_id = key(row, "image_id" if "image_id" in row else "question_id", (int, str), where)
        if not str(image_id).isdecimal() or len(str(image_id)) > _MAX_DIGITS or int(image_id) not in there:
            raise BadInput(f"{where}: no picture {shown(image_id)} in the annotations; are they of the same split?")
        chosen.append(int(image_id))
    check_unique(chosen, str(files.questions))
    return chosen


def _question(
    image_id: int,
    names: dict[int, str],
    there: dict[int, set[str]],
    captioned: dict[int, list[str]],
    image: Callable[[str], str],
) -> Question:
    named = {one for caption in captioned.get(image_id, []) for one in objects_in(caption)}
    return Question(
        question_id=image_id,
        image=image(names[image_id]),
        text=ASK,
        gold=tuple(sorted(there[image_id] | named)) or ("",),
    )


def objects_in(caption: str) -> list[str]:
    """List the categories that a caption names, in reading order, one entry per mention; the longest phrase wins."""
    words = _WORD.findall(caption.lower())
    _, phrases, longest = _objects()
    found, place = [], 0
    while place < len(words):
        for length in range(min(longest, len(words) - place), 0, -1):
            phrase = " ".join(words[place : place + length])
            if phrase in phrases:
                if phrases[phrase]:
                    found.append(phrases[phrase])
                place += length - 1
                break
        place += 1
    return found


@cache
def _objects() -> tuple[list[str], dict[str, str], int]:
    """Read the list -> the categories; every phrase, singular and plural, with its category ("": none); words of the longest."""
    told = read_yaml(OBJECTS)
    phrases: dict[str, str] = {}
    for category, synonyms in told["categories"].items():
        for phrase in (category, *synonyms):
            phrases |= dict.fromkeys(_forms(phrase, told["plurals"]), category)
    for phrase in told["neither"]:
        phrases |= dict.fromkeys(_forms(" ".join(phrase.split()), told["plurals"]), "")
    return list(told["categories"]), phrases, max(len(phrase.split()) for phrase in phrases)


def _forms(phrase: str, plurals: dict[str, str]) -> Iterator[str]:
    """Give a phrase and its plural."""
    yield phrase
    *before, last = phrase.split(" ")
    if last in plurals:
        plural = plurals[last]
    elif last.endswith(("s", "x", "ch", "sh", "z")):
        plural = f"{last}es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        plural = f"{last[:-1]}ies"
    else:
        plural = f"{last}s"
    yield " ".join([*before, plural])


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Look through every caption. counts: mentions that are not there, mentions, objects found, objects there.

    An item is worth the share of its mentions that are there (1 without any). Unparsed: a caption that names nothing.
    """
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        there, named = set(question.gold) - {""}, objects_in(text)
        wrong = sum(one not in there for one in named)
        parsed = " ".join(f"{'' if one in there else '!'}{one.replace(' ', '_')}" for one in named)
        counts = (float(wrong), float(len(named)), float(len(there & set(named))), float(len(there)))
        worth = 1 - wrong / len(named) if named else 1.0
        items.append(item(question, parsed, worth, counts=counts, unparsed=not named))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure CHAIR_i, CHAIR_s, recall, and objects named per caption."""
    counts_IC = np.array([one.counts for one in items])
    rows_I, ones_I1 = np.arange(len(items)), np.ones((len(items), 1))
    return [
        Measure(name="chair_i", rows_I=rows_I, columns_IC=counts_IC[:, :2], statistic=_share),
        mean_measure("chair_s", [float(one.counts[0] > 0) for one in items]),
        Measure(name="recall", rows_I=rows_I, columns_IC=counts_IC[:, 2:], statistic=_share),
        Measure(
            name="objects_per_caption",
            rows_I=rows_I,
            columns_IC=np.hstack([counts_IC[:, 1:2], 100 * ones_I1]),
            statistic=_share,
        ),
    ]


def _share(sums_RC: Floats) -> Floats:
    return 100 * sums_RC[:, 0] / np.maximum(sums_RC[:, 1], 1)


CHAIR = Benchmark(
    name="chair",
    variants={
        "house": Variant(
            meaning="objects by our own list of words", read=read, mark=mark, measures=measures, lower_is_better=True
        )
    },
    default="house",
    cluster="image",
    max_new_tokens=512,  # Source: the usual limit of published CHAIR evaluations of LLaVA-1.5 (OPERA, arXiv 2311.17911)
)
