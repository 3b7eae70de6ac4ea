"""Each rule of the fact sheet on VQA's and M4C's answer texts, worked out by hand."""

from __future__ import annotations

import pytest

from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import (
    CONTRACTIONS,
    m4c,
    normalise_m4c,
    normalise_vqa,
    official_vqa,
    punctuation_step,
    soft_accuracy,
    word_step,
)

MARKS = list(';/[]"{}()=+\\_-><@`,?!')


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_between_letters_becomes_a_space(mark: str) -> None:
    assert punctuation_step(f"x{mark}y") == "x y"


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(("text", "out"), [("x{m} y", "x y"), ("x {m}y", "x y"), ("x{m} y{m}z", "x yz")])
def test_a_mark_that_touches_a_space_anywhere_is_deleted_everywhere(mark: str, text: str, out: str) -> None:
    assert punctuation_step(text.replace("{m}", mark)) == out


def test_there_are_21_marks() -> None:
    assert len(set(MARKS)) == 21


@pytest.mark.parametrize("mark", [*"':&%$#*~|^", "\u2019", "\u2014", "\u3002", "\u00bf"])
def test_other_marks_are_left_alone(mark: str) -> None:
    assert punctuation_step(f"x{mark}y x{mark} y") == f"x{mark}y x{mark} y"


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("t-shirt", "t shirt"),
        ("1,000 t-shirts", "1000 tshirts"),  # a comma between digits deletes every mark
        ("1,000-2,000", "10002000"),
        ("red,white", "red white"),
        ("red,white, blue", "redwhite blue"),  # one ", " and all commas go
        ("x -,y", "x  y"),  # judged on the original text: the comma touched no space
        ("yes!", "yes "),
        ("", ""),
    ],
)
def test_the_punctuation_step_looks_at_the_original_text(text: str, out: str) -> None:
    assert punctuation_step(text) == out


@pytest.mark.parametrize(
    ("text", "out"),
    [("3.5", "3.5"), (".5", ".5"), ("5.", "5"), ("U.S.A.", "USA"), ("x.y", "xy"), ("1.2.x", "1.2x"), ("v. 2", "v 2")],
)
def test_a_period_that_no_digit_follows_is_deleted(text: str, out: str) -> None:
    assert punctuation_step(text) == out


def test_at_most_32_periods_are_deleted() -> None:
    assert punctuation_step("." * 32 + "x") == "x"
    assert punctuation_step("." * 40 + "x") == "." * 8 + "x"


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("None", "0"),
        ("zero ONE two three four five", "0 1 2 3 4 5"),
        ("six seven eight nine ten eleven", "6 7 8 9 10 eleven"),
        ("The cat and a dog in an oven", "cat and dog in oven"),
        ("the", ""),
        ("  two \u00a0 dogs ", "2 dogs"),
        ("dont DONT don't", "don't don't don't"),
        ("Im Ive Id've", "im ive id've"),  # their entries have a capital I and never fire
        ("its shes lets well were wed hell shell ill id", "its shes lets well were wed hell shell ill id"),
        ("let's she's", "let's she's"),
        ("somebody'd", "somebodyd"),
        ("somebodyd", "somebodyd"),
        ("couldnt've couldn'tve couldntve", "couldn't've couldn't've couldntve"),
        (
            "yall yall'll y'allll yall'd've y'alld've y'all'dve",
            "y'all y'all'll y'all'll y'all'd've y'all'd've y'all'd've",
        ),
        ("ow's'at 'ows'at 'ow'sat", "'ow's'at 'ow's'at 'ow's'at"),
        ("twas oclock maam", "'twas o'clock ma'am"),
        ("dont,", "dont,"),  # exact tokens only
    ],
)
def test_the_word_step(text: str, out: str) -> None:
    assert word_step(text) == out


def test_the_table_of_contractions_has_its_120_keys() -> None:
    assert len(CONTRACTIONS) == 120
    changed = {key: value for key, value in CONTRACTIONS.items() if key != value}
    assert len(changed) == 118  # let's and she's stay
    assert all(key.replace("'", "") == value.replace("'", "") for key, value in CONTRACTIONS.items())
    assert sum(value.count("'") == 1 and "'" not in key for key, value in CONTRACTIONS.items()) == 75


@pytest.mark.parametrize(
    ("text", "vqa", "textvqa"),
    [
        ("1,000 t-shirts", "1000 tshirts", "1000 t shirts"),  # M4C's commas are gone before the rule sees them
        ("Dave's", "dave's", "dave 's"),
        ("daves", "daves", "daves"),
        ("whats", "what's", "what's"),
        ("what's", "what's", "what 's"),
        ("red,white", "red white", "redwhite"),
        ("yes?no", "yes no", "yesno"),
        ("yes?", "yes", "yes"),
        ("The\nStop\tSign", "stop sign", "stop sign"),
        (" \n Two. ", "2", "2"),
        ("a", "", ""),
    ],
)
def test_the_two_normalisations_differ_where_the_fact_sheet_says(text: str, vqa: str, textvqa: str) -> None:
    assert (normalise_vqa(text), normalise_m4c(text)) == (vqa, textvqa)


@pytest.mark.parametrize(("matching", "value"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (7, 1), (10, 1)])
def test_agreeing_with_k_of_ten_people_leaves_each_out_in_turn(matching: int, value: float) -> None:
    assert soft_accuracy(matching) == pytest.approx(value)


@pytest.mark.parametrize("num_humans", [3, 9, 10])
@pytest.mark.parametrize("rule", [m4c, official_vqa])
def test_soft_accuracy_is_the_mean_over_people_of_the_others_agreement(rule, num_humans: int) -> None:
    for matching in range(num_humans):  # never all: then VQA's exception would rule
        humans = ["blue"] * matching + [f"x{number}" for number in range(num_humans - matching)]
        worth = []
        for left_out in range(num_humans):
            others = humans[:left_out] + humans[left_out + 1 :]
            worth.append(min(1, others.count("blue") / 3))
        assert rule("Blue", humans) == ("blue", pytest.approx(sum(worth) / num_humans))


def test_official_vqa_normalises_nothing_where_all_people_agree() -> None:
    assert official_vqa("Yes", ["yes"] * 10) == ("Yes", 0.0)
    assert official_vqa("yes", ["yes"] * 10) == ("yes", 1.0)
    assert official_vqa("t shirt", ["t-shirt"] * 10) == ("t shirt", 0.0)
    assert official_vqa("t-shirt", ["t-shirt"] * 10) == ("t-shirt", 1.0)
    assert official_vqa("Yes", ["yes"] * 9 + ["no"]) == ("yes", 1.0)


def test_official_vqa_cleans_whitespace_before_it_looks_whether_all_agree() -> None:
    assert official_vqa("yes\t", ["yes"] * 5 + ["yes\n"] * 5) == ("yes", 1.0)
    assert official_vqa("Yes", ["yes"] * 5 + ["yes\n"] * 5) == ("Yes", 0.0)


def test_m4c_knows_no_exception() -> None:
    assert m4c("Yes", ["yes"] * 10) == ("yes", 1.0)
    assert m4c("t shirt", ["t-shirt"] * 10) == ("t shirt", 1.0)


@pytest.mark.parametrize("rule", [m4c, official_vqa])
def test_a_lone_article_matches_an_empty_answer(rule) -> None:
    assert rule("", ["a"] * 4 + ["b"] * 6) == ("", 1.0)
