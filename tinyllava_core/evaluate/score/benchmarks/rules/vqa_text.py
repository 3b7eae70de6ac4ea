"""When two short answers count as the same, and what agreeing with k of ten people is worth: VQA's rules and M4C's.

The quirks are the rules: published numbers were made with them. Not the reading of any benchmark's files.
Source: VQA `vqaEval.py` (`official_vqa`), `m4c_evaluator.py` of mmf and LLaVA (`m4c`); both under Python 3: for an answer
with digits or spaces beyond ASCII, Python 2 can differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

_MARKS = ';/[]"{}()=+\\_-><@`,?!'  # untouched: . ' : & % $ # * ~ | ^ and every mark beyond ASCII
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MAX_PERIODS = 32  # the official call passes a regex flag (32) where the count belongs
_DIGITS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
           "seven": "7", "eight": "8", "nine": "9", "ten": "10"}  # fmt: skip
_ARTICLES = frozenset({"a", "an", "the"})
_CACHE = 1 << 18  # distinct strings; VQAv2 val has about a hundred thousand


def m4c(prediction: str, humans: Sequence[str]) -> tuple[str, float]:
    """Score an answer as TextVQA does -> (the answer as compared, 0..1): both sides always normalised."""
    said = normalise_m4c(prediction)
    return said, soft_accuracy(_agreeing(said, humans, set(humans), normalise_m4c), len(humans))


def official_vqa(prediction: str, humans: Sequence[str]) -> tuple[str, float]:
    """Score an answer as VQA's own script does -> (the answer as compared, 0..1).

    Where all humans wrote the same, nothing is normalised: `Yes` against ten `yes` scores 0.
    """
    said, different = _clean(prediction), set(humans)
    if len({_clean(human) for human in different}) > 1:
        said, form = normalise_vqa(said), normalise_vqa
    else:
        form = _clean
    return said, soft_accuracy(_agreeing(said, humans, different, form), len(humans))


def always_vqa(prediction: str, humans: Sequence[str]) -> tuple[str, float]:
    """Score an answer as VQA's script would without its exception -> (the answer as compared, 0..1)."""
    said = normalise_vqa(prediction)
    return said, soft_accuracy(_agreeing(said, humans, set(humans), normalise_vqa), len(humans))


def plain_humans_vqa(prediction: str, humans: Sequence[str]) -> tuple[str, float]:
    """Score an answer as VizWiz's API does -> (the answer as compared, 0..1): the people's answers stay as they are."""
    said = normalise_vqa(prediction)
    return said, soft_accuracy(humans.count(said), len(humans))


def _agreeing(said: str, humans: Sequence[str], different: set[str], form: Callable[[str], str]) -> int:
    """Count the humans who said the same; ten people write three different texts on average, so only these are looked at."""
    return sum([humans.count(text) for text in different if form(text) == said])


@cache
def soft_accuracy(num_matching: int, num_humans: int = 10) -> float:
    """Mean over the humans of min(1, matches among the others / 3). Ten humans: 0, .3, .6, .9, 1 for 0, 1, 2, 3, 4 or more."""
    left_out_one = num_matching * min(3, num_matching - 1) if num_matching else 0
    left_out_other = (num_humans - num_matching) * min(3, num_matching)
    return (left_out_one + left_out_other) / (3 * num_humans)


@lru_cache(_CACHE)
def normalise_vqa(text: str) -> str:
    """Bring an answer into the form that VQA compares: clean, punctuation step, word step."""
    return word_step(punctuation_step(_clean(text)))


@lru_cache(_CACHE)
def normalise_m4c(text: str) -> str:
    """Bring an answer into the form that TextVQA compares: M4C's own first step, then VQA's two.

    The first step deletes commas (so `1,000` is no number with a comma any more) and sets `'s` apart (so `what's` becomes
    `what 's`, but `whats` becomes `what's`).
    """
    first = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return word_step(punctuation_step(_clean(first)))


def punctuation_step(text: str, period: re.Pattern[str] = _PERIOD) -> str:
    """Take out marks. Each mark, judged on the whole text: where it touches a space anywhere, all of it is deleted.

    Otherwise it becomes a space; a comma between digits anywhere makes every mark a deleted one. Then the first 32 periods
    that no digit follows are deleted (`period`: which ones).
    """
    found = [mark for mark in _MARKS if mark in text]
    if found:
        delete = _DIGIT_COMMA_DIGIT.search(text) is not None
        text = text.translate(
            {ord(mark): "" if delete or f"{mark} " in text or f" {mark}" in text else " " for mark in found}
        )
    return period.sub("", text, count=_MAX_PERIODS) if "." in text else text


def word_step(text: str) -> str:
    """Lower-case; number words to digits; articles away; the contractions of the table; one space between words."""
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


@lru_cache(_CACHE)
def _clean(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


# Written without any apostrophe, these get theirs back.
_BARE = """
    'twas I'm I've ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's
    isn't it'd it'll ma'am might've mightn't must've mustn't needn't not've o'clock oughtn't shan't should've shouldn't
    somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd
    they'll they're they've wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
    who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
# Written without one of their two apostrophes, either one.
_DOUBLE = """
    couldn't've hadn't've he'd've I'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've
    there'd've they'd've we'd've who'd've wouldn't've you'd've
"""
_ODD = {
    "yall'll": "y'all'll", "y'allll": "y'all'll",
    "yall'd've": "y'all'd've", "y'alld've": "y'all'd've", "y'all'dve": "y'all'd've",
    "ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at",
    "let's": "let's", "she's": "she's", "somebody'd": "somebodyd",
}  # fmt: skip


def _contractions() -> dict[str, str]:
    """Lay out the 120 entries. Those with a capital I never fire, since texts are lower-cased first; they are kept as published."""
    table = {form.replace("'", ""): form for form in _BARE.split()}
    for form in _DOUBLE.split():
        start, middle, end = form.split("'")
        table[f"{start}{middle}'{end}"] = table[f"{start}'{middle}{end}"] = form
    return table | _ODD


CONTRACTIONS = _contractions()
