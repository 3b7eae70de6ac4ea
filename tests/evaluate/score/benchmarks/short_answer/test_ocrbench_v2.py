"""OCRBench v2: what a reply of each kind is worth, worked out by hand, and how the kinds become the authors' two numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_samples import SAMPLES, write_json

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.benchmarks.rules import pages
from tinyllava_core.evaluate.score.benchmarks.rules.boxes import boxed_texts, spotted
from tinyllava_core.evaluate.score.benchmarks.rules.pairs import pairs, share_right
from tinyllava_core.evaluate.score.benchmarks.rules.trees import (
    Tree,
    chart_values,
    document_similarity,
    html_table,
    markdown_table,
    table_similarity,
    tree_distance,
)
from tinyllava_core.evaluate.score.benchmarks.short_answer.ocrbench_v2 import CATEGORY
from tinyllava_core.evaluate.score.benchmarks.short_answer.ocrbench_v2_worth import worth
from tinyllava_core.evaluate.score.scoring import score


@pytest.mark.parametrize(
    ("kind", "how", "gold", "text", "value"),
    [
        ("cognition VQA en", "", ("Exit",), "An exit\nsign", 1),
        ("cognition VQA en", "", ("one two three four five",), "one two three four", 18 / 23),
        ("cognition VQA en", "", ("one two three four five",), "one two", 0),  # 7 of 23
        ("cognition VQA en", "case sensitive", ("Exit",), "exit", 0),
        ("math QA en", "multiple choice", ("B",), "(B).", 1),
        ("math QA en", "multiple choice", ("B",), "B is it", 0),
        ("reasoning VQA cn", "", ("a b",), "xab", 1),  # blanks go
        ("text counting en", "exact match", ("4",), "14", 1),
        ("text counting en", "regression", ("4",), "about 5 or 6", 0.75),
        ("text counting en", "regression", ("4",), "8", 0),
        ("text counting en", "regression", ("4",), "2", 0),  # exactly one half is not more
        ("formula recognition en", "", ("a + B",), "$a+B$", 1),
        ("formula recognition en", "", ("a + B",), "a+b", 0),
        ("formula recognition cn", "", (r"\text{x} y",), "xy", 1),
        ("text grounding en", "", ("0", "0", "10", "10"), "[5, 5, 7, 7] or (0,0,10,5)", 0.5),
        ("text grounding en", "", ("0", "0", "10", "10"), "(0, 0, 10, 1001)", 0),
    ],
)
def test_ocrbench_v2s_simple_kinds(kind: str, how: str, gold: tuple[str, ...], text: str, value: float) -> None:
    asked = Question(question_id=1, image=None, text="", gold=gold, category=kind, context=how)
    assert worth(text, asked) == pytest.approx(value)


def asked(kind: str, gold: str, text: str = "", context: str = "") -> Question:
    return Question(question_id=1, image=None, text=text, gold=(gold,), category=kind, context=context)


def test_a_tree_becomes_another_by_the_cheapest_nodes() -> None:
    """Zhang and Shasha's own example: f(d(a, c(b)), e) and f(c(d(a, b)), e) are two nodes apart."""
    one = Tree("f", [Tree("d", [Tree("a"), Tree("c", [Tree("b")])]), Tree("e")])
    other = Tree("f", [Tree("c", [Tree("d", [Tree("a"), Tree("b")])]), Tree("e")])
    assert tree_distance(one, other, lambda mine, theirs: float(mine != theirs)) == 2
    assert tree_distance(one, one, lambda mine, theirs: float(mine != theirs)) == 0
    assert tree_distance(Tree("a"), other, lambda mine, theirs: float(mine != theirs)) == 5


@pytest.mark.parametrize(
    ("said", "gold", "value"),
    [
        ("<table><tr><td>ab</td></tr></table>", "<table><tr><td>ab</td></tr></table>", 1),
        (
            "<table><tr><td>ac</td></tr></table>",
            "<table><tr><td>ab</td></tr></table>",
            0.75,
        ),  # half a letter of 2 nodes
        ("<table><tr><td>ab</td><td>c</td></tr></table>", "<table><tr><td>ab</td></tr></table>", 2 / 3),
        ('<table><tr><td colspan="2">ab</td></tr></table>', "<table><tr><td>ab</td></tr></table>", 0.5),
        ("so: <table><tr><td>ab", "<tr><td>ab</td></tr>", 1),
        ("no table", "<table><tr><td>ab</td></tr></table>", 0),
    ],
)
def test_a_table_is_compared_as_a_tree(said: str, gold: str, value: float) -> None:
    assert worth(said, asked("table parsing en", gold, "Give it in HTML")) == pytest.approx(value)
    assert worth(said, asked("table parsing cn", gold)) == pytest.approx(value)


def test_a_markdown_table_has_a_line_that_is_no_row() -> None:
    gold = "|a|b|\n|---|---|\n|1|2|"
    assert markdown_table(gold) == (
        "<html><body><table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table></body></html>"
    )
    # without it the second row is gone: 3 of 6 nodes
    assert worth("|a|b|\n|1|2|", asked("table parsing en", gold, "in Markdown")) == pytest.approx(0.5)


def test_a_chart_is_a_table_of_its_names_and_values() -> None:
    assert chart_values("```python\nx = {'a': 1}  # one\n```") == {"a": 1}
    assert [chart_values(text) for text in ("[1]", "{'a'", "{[]: 1}")] == [{}, {}, {}]
    gold = json.dumps({"a": "12", "b": "3"})
    assert worth("{'a': 12, 'b': 3}", asked("chart parsing en", gold)) == 1
    # cell `1 3` for `1 2`: a third of a node, of 6
    assert worth("{'a': 13, 'b': 3}", asked("chart parsing en", gold)) == pytest.approx(1 - 1 / 18)
    assert worth("a: 12", asked("chart parsing en", gold)) == 0


def test_a_document_is_compared_by_its_outline_not_its_words() -> None:
    gold = "# One\nline\n# Two\nline"
    assert document_similarity("# 1\nx\n# 2\ny", gold) == 1
    # one line less, of 6 nodes: root, title, two headings, two lines
    assert document_similarity("# 1\nx\n# 2", gold) == pytest.approx(5 / 6)
    assert document_similarity("**", "text") == pytest.approx(2 / 3)  # a blank line for a line, of 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": "1"}),
        ("```json\n{'a ': ' x'}\n```", {"a": "x"}),
        ("Total: 3.00\nDate = today", {"Total": "3.00", "Date": "today"}),
        ("[1]", {}),
        ("nothing", {}),
    ],
)
def test_names_and_values_are_read_as_they_come(text: str, found: dict[str, str]) -> None:
    assert pairs(text) == found


def test_key_information_is_a_share_of_all_names_of_both_sides() -> None:
    gold = {"a": ["X y"], "b": ["1", "2"]}
    assert share_right({"a": "x Y", "b": "2"}, gold) == 1
    assert share_right({"a": "xy", "c": "1"}, gold) == pytest.approx(1 / 3)
    assert share_right({}, gold) == 0


def test_a_position_is_half_of_the_score() -> None:
    one = asked("VQA with position en", "exit", context="[0, 0, 10, 10]")
    assert worth('{"answer": "the Exit", "bbox": [0, 0, 10, 5]}', one) == 0.75
    assert worth('{"answer": "door", "bbox": [0, 0, 10, 10]}', one) == 0.5
    assert worth('{"answer": "exit", "bbox": "left"}', one) == 0.5
    assert worth("exit", one) == 0


def test_spotted_words_are_an_f1_of_boxes_above_one_half_with_the_same_letters() -> None:
    box, other = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
    assert spotted([(box, "exit"), (other, "x")], [(box, "EXIT."), (other, "Y")]) == 0.5
    assert spotted([((0, 0, 10, 5), "exit")], [(box, "EXIT")]) == 0  # exactly one half is not enough
    assert spotted([(box, "exit"), (box, "exit")], [(box, "EXIT")]) == pytest.approx(2 / 3)
    assert spotted([(box, "exit"), (other, "zz")], [(box, "EXIT"), (other, "###")]) == 1
    assert spotted([((10, 0, 0, 10), "exit")], [(box, "EXIT")]) == 0


def test_boxes_with_texts_are_read_however_they_are_written() -> None:
    found = [((1.0, 2.0, 3.0, 4.0), "a, b")]
    assert boxed_texts("[[1, 2, 3, 4, 'a, b'], (1, '2', 3, 4, 'a, b'), [1, 2, 3, 1001, 'c'], [1, 2]]") == found
    assert boxed_texts("words: [1, 2, 3, 4, a, b] (x, y)") == found
    assert boxed_texts("7") == []


def test_chosen_letters_are_looked_up_however_they_are_separated() -> None:
    kind = "handwritten answer extraction cn"
    assert [worth(text, asked(kind, "AC")) for text in ("A, C", "AC", "A \u548c C", "A\u548cC", "CA")] == [
        1,
        1,
        0,
        1,
        0,
    ]


class _NoSynonyms:
    def synsets(self, *_: Any) -> list[Any]:
        return []


def test_a_page_is_the_mean_of_four_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    from functools import partial

    from nltk.metrics.scores import f_measure
    from nltk.translate import bleu
    from nltk.translate.meteor_score import meteor_score

    meteor = partial(meteor_score, wordnet=_NoSynonyms())
    monkeypatch.setattr(pages, "libraries", lambda: (bleu, meteor, f_measure, list))
    # word for word: BLEU 1, METEOR 1 - (1 chunk / 4 words)^3 / 2, F1 1, distance 0
    assert pages.page_similarity("one two six ten", "one two six ten") == pytest.approx((3 + 1 - 0.5 / 64) / 4)
    # nothing shared but one of two words: BLEU 0; METEOR .5 * (1 - .5); F1 .5; 3 of 7 letters off
    assert pages.page_similarity("one two", "one six") == pytest.approx((0.25 + 0.5 + 1 - 3 / 7) / 4)
    assert pages.page_similarity("", "one") == 0
    assert worth("one two", asked("full-page OCR en", "one six")) == pages.page_similarity("one two", "one six")


def test_the_official_numbers_are_means_of_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting and mathematics are one category: 2 of 3 right; finding the other: right. Chinese: one, wrong."""
    monkeypatch.setattr("tinyllava_core.evaluate.score.benchmarks.short_answer.ocrbench_v2.libraries", lambda: ())
    kinds = ("math QA en", "math QA en", "text counting en", "text grounding en", "cognition VQA cn")
    rows = [
        {"id": n, "type": kind, "question": "?", "image_path": "a.jpg", "answers": [4], "eval": "exact match"}
        for n, kind in enumerate(kinds)
    ]
    rows[0].pop("eval"), rows[1].pop("eval"), rows[4].pop("eval")
    rows[3]["answers"] = [1, 2, 3, 4]
    path = write_json(tmp_path / "OCRBench_v2.json", rows)
    row = benchmark("ocrbench-v2")
    questions = row.variant("official").read(Files(annotations=path))
    said = dict(zip("01234", ("4", "5", "4", "(1,2,3,4)", "5"), strict=True))
    found = score(row, "official", questions, said)
    assert (found.metric, found.score) == ("english", pytest.approx(100 * (2 / 3 + 1) / 2))
    assert (found.value("chinese"), found.value("accuracy")) == (0, 60)


def test_each_of_thirty_kinds_has_a_category() -> None:
    assert len(CATEGORY) == 30


def test_simple_passes_over_the_kinds_that_need_libraries(tmp_path: Path) -> None:
    sample = SAMPLES["ocrbench-v2"](tmp_path / "files")
    questions = benchmark("ocrbench-v2").variant(None).read(Files(annotations=sample.annotations))
    assert [question.question_id for question in questions] == ["1", "2", "3", "5", "6", "7", "8"]
    said = dict.fromkeys([question.question_id for question in questions], "exit") | {"2": "3"}
    found = score(benchmark("ocrbench-v2"), None, questions, said)
    # cognition 1, counting .75, document: one line for heading and line, 3 of 4 nodes
    assert (found.metric, found.score) == ("mean_of_kinds", pytest.approx(100 * (1 + 0.75 + 0.75) / 7))


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"type": "new kind"}, "type = 'new kind'; expected one of"),
        ({"type": "text spotting en", "bbox": []}, "1 content, but 0 bbox"),
        ({"type": "VQA with position en", "bbox": [1, 2, 3]}, "bbox = .*expected the corners"),
        ({"type": "key information mapping en", "answers": ["no"]}, "expected {name: value or values}"),
        ({"type": "chart parsing en"}, "of kind chart parsing en; expected"),
    ],
)
def test_a_row_that_does_not_fit_its_kind_is_told(tmp_path: Path, changed: dict[str, Any], fault: str) -> None:
    row = {"id": 1, "type": "", "question": "?", "image_path": "a.jpg", "answers": ["x"], "content": ["x"]}
    path = write_json(tmp_path / "OCRBench_v2.json", [row | changed])
    with pytest.raises(BadInput, match=fault):
        benchmark("ocrbench-v2").variant(None).read(Files(annotations=path))


def test_names_written_out_twice_are_read(tmp_path: Path) -> None:
    row = {"id": 1, "type": "key information extraction cn", "question": "?", "image_path": "a.jpg"}
    path = write_json(tmp_path / "OCRBench_v2.json", [row | {"answers": ["{'a': ['x', 'y'], 'b': 3}"]}])
    (found,) = benchmark("ocrbench-v2").variant(None).read(Files(annotations=path))
    assert json.loads(found.gold[0]) == {"a": ["x", "y"], "b": ["3"]}


@pytest.mark.parametrize("name", ["nltk", "jieba"])
def test_a_library_that_is_missing_is_told_before_anything_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.corpus", None)
    pages.libraries.cache_clear()
    sample = SAMPLES["ocrbench-v2"](tmp_path / "files")
    with pytest.raises(BadInput, match=r"pip install 'tinyllava-pipelines\[ocrbench\]'"):
        benchmark("ocrbench-v2").variant("official").read(Files(annotations=sample.annotations))


def test_wordnet_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    pages.libraries.cache_clear()
    with pytest.raises(BadInput, match=r"python -m nltk\.downloader wordnet"):
        pages.libraries()


def test_a_page_without_a_table_is_nothing() -> None:
    assert html_table("no") == ""
    assert table_similarity("", "<html><body><table><tr></tr></table></body></html>") == 0
