"""The families of letter rules, as the harnesses' code reads the same replies. Expected values: facts of that code, by hand."""

from __future__ import annotations

import pytest

from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.benchmarks.rules.letters import a_or_b, head, lmms, vlmevalkit


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("The answer is B.", "B"),
        ("the answer is b", "B"),  # the sentence is read in either case
        ("The correct answer is **C**, since the sea is blue and wide and deep", "C"),
        ("the answer is about the sea", "A"),  # of the word behind it only the first letter
        ("b", ""),  # only capitals are letters
        ("B-x", ""),
        ("B/C", ""),
        ('"B"', ""),
        ("A dog", "A"),
        ("A or B", ""),
        ("B as the sea is wide and deep", ""),  # too far from the end
        ("Z", "Z"),
        ("Cannot determine the answer", "Z"),
        ("It is a cat", "A"),  # the one option's text
        ("a cat and a dog", ""),
        ("It is a cat, which one can see at once by its fur", ""),  # more than twice as long as all options
        ("Failed to obtain answer via API. B", ""),
        ("", ""),
    ],
)
def test_vlmevalkits_rule(text: str, letter: str) -> None:
    asked = Question(question_id=1, image=None, text="", gold=("A",), choices=("cat", "dog", "sea", "sky"))
    assert vlmevalkit(text, asked) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("B. because A", "B"),  # the start wins over the end
        ("I think it is C", "C"),
        ("The answer is B because A is wrong", "A"),  # the end of the phrase's tail: A stands later
        ("It is (C) or (A), no doubt", "A"),
        ("option D: the sky", "D"),
        ("none of them", ""),
        ("b", ""),  # lower case is never read
        ("Yes, both of them. Cats", "C"),  # no place at all: any occurrence
        ("DOG", "D"),
        ("", ""),
    ],
)
def test_lmms_evals_rule_of_priorities(text: str, letter: str) -> None:
    assert lmms(text, "ABCD") == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [("(B) x", "B"), ("b", "B"), ("The dog", "T"), ("Both", "B"), ("Answer: B", "A"), ("**B**", ""), ("", "")],
)
def test_the_head_of_a_reply_takes_every_word_for_a_letter(text: str, letter: str) -> None:
    assert head(text) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("(b)", "B"),
        ("B. No", "B"),
        ("The answer is (a)", "A"),
        ("Option B", "B"),
        ("It is a cat", "A"),  # a word's end
        ("Banana", "A"),  # so is the end of the reply
        ("Both", "B"),  # nothing else: the first character
        ("No", ""),
    ],
)
def test_a_or_b_is_read_as_lmms_eval_does_for_mmvp(text: str, letter: str) -> None:
    assert a_or_b(text) == letter
