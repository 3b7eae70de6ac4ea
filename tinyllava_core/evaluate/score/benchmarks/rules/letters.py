"""Which option does a reply choose? The families of rules that harnesses have, by the harness's name, quirks included.

On a bare letter all agree; they differ on sentences. Each takes a reply and gives a letter, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.scoring import Item, Mark, item

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Extract = Callable[[str, Question], str]

_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)  # Source: VLMEvalKit `matching_util.py`: exact texts of some models' replies
_FAILED = "Failed to obtain answer via API"
_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_SENTENCE = re.compile(r"(?i)answer\s+is\s+\**([ABCD])")
_LAST_WORDS = 5

_OUTER = (",", ".", "!", "?", ";", ":", "'", '"')  # stripped one after the other, once each
_SAID = ("answer", "correct answer", "best answer", "correct option", "best option", "choice", "correct choice")
_PHRASES = (
    *(f"{the}{said} is" for said in _SAID for the in ("", "the ")),
    *("i choose", "i select", "i pick", "my answer is", "my choice is"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)  # the first occurrence of each counts. Source: lmms-eval `mcq_extract.py`

_HEAD = re.compile(r"[(\s]*([A-Za-zİıſK])")  # the last four: what ignoring case lets in besides
_A_OR_B = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^\s*\(?([AB])\)?\.?\s*$",
        r"^\s*\(?([AB])\)?[.\s]",
        r"answer\s+is\s+\(?([AB])\)?",
        r"option\s+\(?([AB])\)?",
        r"\(?([AB])\)?(?:\s|$)",
    )
]  # Source: lmms-eval `mmvp/utils.py`


def marking(extract: Extract) -> Mark:
    """Make a rule of marking: right where the letter is the gold one. Unparsed: no letter found."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        pairs = zip(questions, in_order(questions, answers), strict=True)
        return [letter_item(question, extract(text, question)) for question, text in pairs]

    return mark


def letter_item(question: Question, letter: str) -> Item:
    """Score a letter that was read, or nothing, which is unparsed."""
    return item(question, letter, float(letter == question.gold[0]), unparsed=not letter)


def vlmevalkit(text: str, question: Question) -> str:
    """Read a reply as VLMEvalKit does without a judge -> a letter, Z for a refusal, or nothing.

    One option letter as a word of its own (marks are spaces), among the last four words; else a lone Z; else "answer is
    X"; else the one option whose text is in a reply of at most twice the length of all options.
    Source: `matching_util.py`, `can_infer`, with the environment variable VERBOSE unset.
    """
    return infer(text, question.choices, _SENTENCE)


def infer(text: str, options: Sequence[str], sentence: re.Pattern[str]) -> str:
    """Do as `vlmevalkit`, with a pattern of one's own for the sentence that names a letter."""
    letters = LETTERS[: len(options)]
    if any(refusal in text for refusal in _REFUSALS):
        return "Z"
    words = [] if _FAILED in text else text.translate(_MARKS).split()
    found = [one for one in letters if one in words]
    if len(found) == 1 and words.index(found[0]) > len(words) - _LAST_WORDS:
        return found[0]
    if not found and "Z" in words:
        return "Z"
    said = sentence.search(text) if words else None
    if said and said.group(1).upper() in letters:
        return said.group(1).upper()
    lowered = [option.lower() for option in options]
    if len(text.lower()) > 2 * sum(map(len, lowered)):
        return ""
    inside = [one for one, option in zip(letters, lowered, strict=True) if option in text.lower()]
    return inside[0] if len(inside) == 1 else ""


def lmms(text: str, letters: str) -> str:
    """Read a reply as lmms-eval's `extract_mcq_answer` does: the place of highest priority, the later of equals."""
    if not text.strip():
        return ""
    text = text.strip()
    for outer in _OUTER:
        text = text.strip(outer)
    text = f" {text} "
    core, lowered = text.strip(), text.lower()
    found: list[tuple[int, int, str]] = []  # priority, place, letter
    for letter in letters:
        for priority, form in ((6, "({})"), (5, "{}."), (4, "{}:"), (3, "{})"), (2, "{} ")):
            found.append((priority, text.rfind(form.format(letter)), letter))
        for phrase in _PHRASES:
            start = lowered.find(phrase)
            found.append((7, text.find(letter, start + len(phrase)) if start >= 0 else -1, letter))
        if core.startswith(letter) and not core[1:2].isalpha():
            found.append((10, 0, letter))
        if core.endswith(letter) and not core[-2:-1].isalpha():
            found.append((9, len(text) - 1, letter))
    found = [one for one in found if one[1] >= 0] or [(0, text.rfind(letter), letter) for letter in letters]
    best = max(found, key=lambda one: one[:2])
    return best[2] if best[1] >= 0 else ""


def head(text: str) -> str:
    """Read the first Latin letter behind blanks and round brackets, in either case: every word is a letter.

    Source: lmms-eval `blink/utils.py` and `cv_bench/utils.py`.
    """
    found = _HEAD.match(text.strip())
    return found.group(1).upper() if found else ""


def a_or_b(text: str) -> str:
    """Read A or B as lmms-eval does for MMVP: the first of five patterns that matches, else the first character."""
    text = text.strip()
    for pattern in _A_OR_B:
        if found := pattern.search(text):
            return found.group(1).upper()
    return text[:1].upper() if text[:1].upper() in ("A", "B") else ""
