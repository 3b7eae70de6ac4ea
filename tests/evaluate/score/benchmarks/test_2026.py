"""The benchmarks that people look at in 2026: how each one's number is made, on a few items worked out by hand.

Which rule a number follows, and what was seen on real replies: docs/evaluation.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmark_samples import SAMPLES, write_json, write_lines

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.benchmarks.choice.ai2d import cambrian, flexible
from tinyllava_core.evaluate.score.benchmarks.choice.blink import direct
from tinyllava_core.evaluate.score.benchmarks.choice.mmmu_pro import official as pro
from tinyllava_core.evaluate.score.benchmarks.choice.mmstar import first_letter
from tinyllava_core.evaluate.score.benchmarks.short_answer.mathvista import nearest, rules
from tinyllava_core.evaluate.score.benchmarks.yes_no.hallusionbench import parse
from tinyllava_core.evaluate.score.scoring import Scored, score


def questions(tmp_path: Path, name: str, variant: str | None = None, **more: Any) -> list[Question]:
    sample = SAMPLES[name](tmp_path / name)
    return benchmark(name).variant(variant).read(Files(annotations=sample.annotations, **more))


def scored(tmp_path: Path, name: str, *texts: str, variant: str | None = None) -> Scored:
    asked = questions(tmp_path, name, variant)
    return score(benchmark(name), variant, asked, dict(zip([one.question_id for one in asked], texts, strict=True)))


def one(gold: str = "A", choices: tuple[str, ...] = ("x", "y"), category: str = "") -> Question:
    return Question(question_id=1, image=None, text="", gold=(gold,), choices=choices, category=category)


@pytest.mark.parametrize(
    ("text", "right"),
    [("B", True), ("b) y", True), ("(B)", True), ("Option B", True), ("The answer is b.", True), ("It is B", False),
     ("Both", True), ("\nB", True)],
)  # fmt: skip
def test_mmstar_looks_at_what_the_reply_begins_with(text: str, right: bool) -> None:
    assert (first_letter(text, one("B")) == "B") is right


def test_mmstar_reads_answer_as_a() -> None:
    assert first_letter("Answer: B", one("A")) == "A"


def test_mmstar_pools_and_lmms_eval_takes_the_mean_of_the_kinds(tmp_path: Path) -> None:
    rows = [
        {"index": n, "question": "?", "answer": "A", "category": "math", "l2_category": kind}
        for n, kind in enumerate(("geometry", "geometry", "geometry", "numbers"))
    ]
    path = write_lines(tmp_path / "mmstar.jsonl", rows)
    asked = benchmark("mmstar").variant(None).read(Files(annotations=path))
    said = {0: "A", 1: "A", 2: "A", 3: "B"}
    assert score(benchmark("mmstar"), None, asked, said).score == 75
    other = score(benchmark("mmstar"), "lmms-eval", asked, said)
    assert (other.metric, other.score) == ("average", 50)
    assert asked[0].text == "?\nAnswer with the option's letter from the given choices directly"


@pytest.mark.parametrize(
    ("text", "letter"),
    [("a", "A"), ("(A)", "A"), ("A)", "A"), ("**A**", "A"), ("A. text", "A"), ("A text", ""), ("Answer: A", ""),
     ("The answer is A", ""), ("A。", "")],
)  # fmt: skip
def test_ai2d_wants_the_letter_alone_or_before_a_full_stop(text: str, letter: str) -> None:
    assert flexible(text, one()) == letter


def test_cambrian_reads_behind_the_phrase() -> None:
    assert [cambrian(text, one()) for text in ("The answer is (b).", "Answer: A", "yes")] == ["B", "A", ""]


def test_seedbench_asks_about_pictures_only_and_reads_the_first_character(tmp_path: Path) -> None:
    asked = questions(tmp_path, "seedbench", images=ImagePlaces.one(tmp_path))
    assert [(question.question_id, question.image) for question in asked] == [("7", "1_2")]
    assert [scored(tmp_path / text, "seedbench", text).score for text in ("d", "Dogs", "(D)")] == [100, 100, 0]
    assert scored(tmp_path / "llava", "seedbench", "d", variant="llava").score == 0


def test_realworldqa_reads_letters_by_priority_and_words_as_they_are(tmp_path: Path) -> None:
    assert scored(tmp_path / "a", "realworldqa", "I choose B", "3.").score == 100
    assert scored(tmp_path / "b", "realworldqa", "b", "three").score == 0
    assert scored(tmp_path / "c", "realworldqa", "right", "3", variant="vlmevalkit").score == 100


@pytest.mark.parametrize(
    ("text", "letter"),
    [("B", "B"), ("(B)", "B"), ("it is (B) there", "B"), ("(A) or (B)", ""), ("(A) or (B)\n\nso (A)", "A"),
     ("(E) or (B)", "B"), ("(B).", ""), ("b", "")],
)  # fmt: skip
def test_blinks_own_rule_wants_one_letter_in_brackets(text: str, letter: str) -> None:
    assert direct(text, one(choices=("x", "y"))) == letter


def test_blink_is_about_several_pictures_out_of_parquet_and_a_mean_of_tasks(tmp_path: Path) -> None:
    asked = questions(tmp_path, "blink")
    assert [question.pictures for question in asked] == [("0-1.jpg", "0-2.jpg"), ("1.jpg",)]
    write = benchmark("blink").write_pictures
    assert write is not None
    assert write(tmp_path / "blink", tmp_path / "pictures") == 3
    assert (tmp_path / "pictures" / "0-2.jpg").read_bytes() == b"2"
    assert scored(tmp_path / "again", "blink", "(B)", "(A)").score == 50


def test_cvbench_is_the_mean_of_2d_and_3d_and_2d_of_two_sources(tmp_path: Path) -> None:
    found = scored(tmp_path, "cvbench", "(A)", "(B)", "A")
    assert (found.metric, found.score) == ("cv_bench", 75)
    assert [found.value(name) for name in ("2D", "3D", "accuracy")] == [50, 100, pytest.approx(200 / 3)]


def test_mmvp_counts_pairs(tmp_path: Path) -> None:
    found = scored(tmp_path, "mmvp", "A", "A")
    assert (found.metric, found.score, found.value("accuracy")) == ("pair_accuracy", 0, 50)
    assert (found.headline.n, found.headline.num_clusters) == (1, 1)


def test_mmvps_two_wrong_pairs_are_exchanged_in_a_variant_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "Questions.csv"
    path.write_text("Index,Question,Options,Correct Answer\n98,?,(a) x (b) y,(a)\n99,?,(a) x (b) y,(a)\n")
    files = Files(annotations=path)
    assert [question.gold for question in benchmark("mmvp").variant(None).read(files)] == [("A",), ("A",)]
    assert [question.gold for question in benchmark("mmvp").variant("corrected").read(files)] == [("A",), ("B",)]


@pytest.mark.parametrize(
    ("text", "letter"),
    [("Answer: B", "B"), ("Answer: A no, Answer: (B)", "B"), ("B", "B"), ("I think B", "B"), ("(A) then (B)", "B"),
     ("no idea", ""), ("it must be the dog in the yard", "B")],
)  # fmt: skip
def test_mmmu_pro_reads_behind_the_last_answer(text: str, letter: str) -> None:
    assert pro(text, ("cat", "the dog")) == letter


def test_with_ten_options_the_pronoun_is_one_of_them() -> None:
    assert pro("I cannot say", tuple("qrstuvwxyz")) == "I"


def test_mmmu_pro_draws_a_choice_by_the_questions_id_and_counts_it(tmp_path: Path) -> None:
    found = [scored(tmp_path / str(n), "mmmu-pro", "no idea") for n in range(2)]
    assert found[0].items == found[1].items
    assert (found[0].num_unparsed, found[0].items[0].parsed in ("A", "B")) == (1, True)
    assert scored(tmp_path / "v", "mmmu-pro", "no idea", variant="vlmevalkit").items[0].parsed == ""


def test_chartqas_ids_are_part_and_row(tmp_path: Path) -> None:
    assert [question.question_id for question in questions(tmp_path, "chartqa")] == ["human-0", "augmented-0"]
    found = scored(tmp_path / "again", "chartqa", "106", "99")
    assert (found.score, found.value("human"), found.value("augmented")) == (50, 0, 100)


def test_docvqa_is_a_mean_of_anls_and_of_each_type(tmp_path: Path) -> None:
    found = scored(tmp_path, "docvqa", "dr. na")  # one of six letters from "dr. no"
    assert found.score == pytest.approx(500 / 6)
    assert found.value("question_types.form") == pytest.approx(500 / 6)


def test_docvqas_test_split_is_uploaded(tmp_path: Path) -> None:
    rows = [{"questionId": 5, "question": "Who?", "image": "documents/a.png"}]
    path, row = write_json(tmp_path / "test_v1.0.json", {"data": rows}), benchmark("docvqa")
    with pytest.raises(BadInput, match="not public"):
        score(row, None, row.variant(None).read(Files(annotations=path)), {5: "x"})
    assert row.submit is not None
    row.submit({5: "x"}, path, tmp_path / "upload.json")
    assert (tmp_path / "upload.json").read_text() == '[{"questionId": 5, "answer": "x"}]'


def test_ocrbench_counts_points_and_keeps_the_case_of_formulas(tmp_path: Path) -> None:
    found = scored(tmp_path / "a", "ocrbench", "An exit sign", "A + b")
    assert (found.metric, found.score, found.headline.max_score) == ("points", 1, 2)
    assert found.value("Text Recognition") == 100
    wide = "\N{FULLWIDTH LATIN CAPITAL LETTER E}XIT"
    assert scored(tmp_path / "b", "ocrbench", wide, "x").score == 0
    assert scored(tmp_path / "c", "ocrbench", wide, "x", variant="lmms-eval").score == 1


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("5", "text", "5"),
        ("B", "text", "5"),
        ("(B)", "text", "5"),
        ('The answer is "(a)".', "text", "4"),
        ('The answer is "fifty".', "text", "4"),  # as far from both: the first
        ("who knows", "text", ""),
        ("7", "integer", "7"),
        ("7.0", "integer", ""),
        ("about 7", "integer", ""),  # only a judge reads a sentence
        ("1.26", "float1", "1.3"),
        ('The answer is "2".', "float2", "2.0"),
        ("[1, 2]", "list", ""),
    ],
)
def test_mathvista_reads_directly_what_can_be_read(text: str, kind: str, said: str) -> None:
    assert rules(text, one("5", ("4", "5") if kind == "text" else (), kind)) == said


def test_mathvistas_letters_win_over_the_texts_of_choices() -> None:
    assert nearest("B", ("B", "A")) == "A"
    assert nearest(" 5 cm", ("4 m", "5 m")) == "5 m"


def test_vizwiz_normalises_the_answer_and_not_the_people(tmp_path: Path) -> None:
    people = [{"answer": "two dogs"}] * 5 + [{"answer": "2 dogs"}] * 5
    row = {"image": "VizWiz_val_00000001.jpg", "question": "?", "answers": people, "answer_type": "other"}
    path = write_json(tmp_path / "val.json", [row] * 1)
    asked = benchmark("vizwiz").variant(None).read(Files(annotations=path))
    said = {asked[0].question_id: "Two dogs"}  # becomes `2 dogs`: five people, so 1
    assert score(benchmark("vizwiz"), None, asked, said).score == 100
    rare = [{**row, "answers": [{"answer": "two dogs"}] * 8 + [{"answer": "2 dogs"}] * 2}]
    asked = benchmark("vizwiz").variant(None).read(Files(annotations=write_json(tmp_path / "rare.json", rare)))
    assert score(benchmark("vizwiz"), None, asked, said).score == pytest.approx(60)  # two people
    assert score(benchmark("vizwiz"), "vlmevalkit", asked, said).score == 100  # all ten say 2 dogs


def test_vizwiz_tells_what_cannot_be_answered_by_that_word_alone(tmp_path: Path) -> None:
    """Second task: two of three found, one false. Ranks of two kinds: recall x precision + the rest x share of positives."""
    said = ("Unanswerable.", "unanswerable", "a dog", "unanswerable", "cannot be answered: unanswerable")
    for place, label in enumerate(("answerable", "answer_type", "category")):
        rows = []
        for n, known in enumerate((0, 0, 0, 1, 1)):
            kind = {"answerable": known, "answer_type": "other"} if place == 0 else {}
            rows.append({"image": f"{n}.jpg", "question": "?", "answers": [{"answer": "dog"}] * 10} | kind)
            if place:
                rows[-1][label] = "other" if known else "unanswerable"
        asked = benchmark("vizwiz").variant(None).read(Files(annotations=write_json(tmp_path / f"{label}.json", rows)))
        for variant in ("official", "lmms-eval", "vlmevalkit"):
            found = score(benchmark("vizwiz"), variant, asked, {f"{n}.jpg": text for n, text in enumerate(said)})
            assert found.value("unanswerable.f1") == pytest.approx(200 / 3)
            assert found.value("unanswerable.average_precision") == pytest.approx(100 * (4 / 9 + 1 / 3 * 3 / 5))
    nobody = score(benchmark("vizwiz"), None, asked, {f"{n}.jpg": "dog" for n in range(5)})
    assert nobody.value("unanswerable.f1") == 0
    assert nobody.value("unanswerable.average_precision") == pytest.approx(60)  # the share of positives


def test_vizwizs_answerable_is_0_or_1(tmp_path: Path) -> None:
    row = {"image": "0.jpg", "question": "?", "answers": [{"answer": "dog"}] * 10, "answer_type": "other"}
    path = write_json(tmp_path / "val.json", [row | {"answerable": 2}])
    with pytest.raises(BadInput, match="answerable = 2; expected 0 or 1"):
        benchmark("vizwiz").variant(None).read(Files(annotations=path))


@pytest.mark.parametrize(
    ("text", "said"),
    [("Yes.", "yes"), ("no, it is not", "no"), ("Not", ""), ("yes-no", ""), ("yes and no", ""), ("Nope", ""),
     ("1.no", ""), ("It is 3. no", "no")],
)  # fmt: skip
def test_hallusionbench_wants_one_of_two_words(text: str, said: str) -> None:
    assert parse(text) == said


def test_hallusionbench_counts_answers_pictures_and_questions(tmp_path: Path) -> None:
    """Two pictures of one set, one question each of the same group: one right of two."""
    found = scored(tmp_path, "hallusionbench", "yes", "no")
    assert [found.value(name) for name in ("aAcc", "fAcc", "qAcc")] == [50, 50, 0]
    assert found.score == pytest.approx(100 / 3)
    assert found.value("yes_ratio") == 50


def test_captions_are_a_mean_times_100(tmp_path: Path) -> None:
    found = scored(tmp_path, "captions", "A dog runs on green grass.", "nothing like it")
    assert (found.metric, found.score, found.headline.max_score) == ("cider", pytest.approx(500), 1000)
    assert scored(tmp_path / "v", "captions", "A dog runs on green grass.", "x", variant="vlmevalkit").score > 0


def test_refcoco_is_right_from_one_half_on(tmp_path: Path) -> None:
    assert questions(tmp_path, "refcoco")[0].gold == ("0.1", "0.2", "0.5", "0.4")
    near = scored(tmp_path / "a", "refcoco", "[0.1, 0.2, 0.31, 0.4]")  # .21 x .2 of .4 x .2
    assert (near.value("iou"), near.score, near.value("accuracy@0.7")) == (pytest.approx(52.5), 100, 0)
    assert scored(tmp_path / "d", "refcoco", "[0.1, 0.2, 0.29, 0.4]").score == 0
    assert scored(tmp_path / "b", "refcoco", "left").num_unparsed == 1
    assert scored(tmp_path / "c", "refcoco", "(100,200),(500,400)", variant="qwen-vl").score == 100


def test_refcocos_pictures_in_the_hubs_cells_say_how_large_they_are(tmp_path: Path) -> None:
    """As the hub has it: no columns of the size, and no picture on the disk when an answer file is scored."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg")
    row = {"question_id": "r", "answer": ["left dog"], "bbox": [20.0, 20.0, 40.0, 20.0]}
    row["image"] = {"bytes": (tmp_path / "a.jpg").read_bytes(), "path": "a.jpg"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "testA.parquet")
    (asked,) = benchmark("refcoco").variant(None).read(Files(annotations=tmp_path / "testA.parquet", asking=False))
    assert [float(side) for side in asked.gold] == [0.1, 0.2, pytest.approx(0.3), 0.4]
