"""Where the variants of one benchmark part: replies that they score differently, each number worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_samples import SAMPLES, write_json, write_lines

from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.scoring import Scored, score


def scored(name: str, variant: str, annotations: Path, texts: tuple[str, ...]) -> Scored:
    asked: list[Question] = benchmark(name).variant(variant).read(Files(annotations=annotations, asking=False))
    return score(benchmark(name), variant, asked, dict(zip([one.question_id for one in asked], texts, strict=True)))


@pytest.mark.parametrize(
    ("name", "texts", "scores"),
    [
        # gold B, C: the first reply begins with an A, which the authors take for the letter
        ("mmstar", ("Answer: B", "C"), {"official": 50, "lmms-eval": 100, "vlmevalkit": 100}),
        # gold B of sun, moon, star, sky
        ("ai2d", ("The answer is B.",), {"lmms-eval": 0, "vlmevalkit": 100, "cambrian": 100}),
        ("ai2d", ("the moon",), {"lmms-eval": 0, "vlmevalkit": 100, "cambrian": 0}),
        # gold D, and any word that begins with it
        ("seedbench", ("Dogs",), {"lmms-eval": 100, "llava": 0, "vlmevalkit": 0}),
        ("seedbench", ("it is D",), {"lmms-eval": 0, "llava": 0, "vlmevalkit": 100}),
        # gold B of left, right; then 3
        ("realworldqa", ("to the right", "The answer is 3."), {"lmms-eval": 0, "vlmevalkit": 50, "cambrian": 50}),
        ("realworldqa", ("B", "3."), {"lmms-eval": 100, "vlmevalkit": 100, "cambrian": 100}),
        # gold B twice: a word that begins with it, and one in brackets
        ("blink", ("Because", "(B)"), {"rules": 50, "direct": 50, "lmms-eval": 100, "vlmevalkit": 50}),
        ("blink", ("it is B", "(B)"), {"rules": 100, "direct": 50, "lmms-eval": 50, "vlmevalkit": 100}),
        # gold A of ADE20K, COCO, Omni3D: the first is a half of a half
        ("cvbench", ("It is A", "A", "A"), {"lmms-eval": 75, "vlmevalkit": 100}),
        # gold A, B of Yes, No
        ("mmvp", ("Yes", "No"), {"lmms-eval": 0, "corrected": 0, "vlmevalkit": 100}),
        ("mmvp", ("It is a cat", "b"), {"lmms-eval": 100, "corrected": 100, "vlmevalkit": 0}),
        # gold B of x, y
        ("mmmu-pro", ("(A)? No. Answer: B",), {"official": 100, "lmms-eval": 0, "vlmevalkit": 0}),
        # gold 100 twice: 5.2 is more than 5 % of it, and less than 5 % of 105.2
        ("chartqa", ("105.2", "100"), {"official": 50, "qwen-vl": 100}),
        # gold `Dr. No`, `No`: half of the letters; then one letter of nine, seven of them blanks
        ("docvqa", ("na",), {"official": 50, "lmms-eval": 50, "pix2struct": 0}),
        ("docvqa", ("na       ",), {"official": 100 * 8 / 9, "lmms-eval": 50, "pix2struct": 0}),
        ("infovqa", ("na       ",), {"official": 100 * 8 / 9, "lmms-eval": 50, "pix2struct": 0}),
        # gold `5` of 4, 5; gold 1.5: rounded, or compared as it is
        ("mathvista", ("B", "1.54"), {"rules": 100, "vlmevalkit": 50}),
        # gold B
        ("mmbench", ("The answer is A", "B"), {"letters": 0, "extract": 100}),
        # ten people say 2: `two` is what the upload is, and not what the script sees where all agree
        ("vqa", ("two",), {"llava": 100, "official": 0, "lmms-eval": 100}),
        ("gqa", ("Dog.",), {"llava": 100, "official": 0}),
        ("scienceqa", ("B",), {"img": 100, "all": 100}),
        ("refcoco", ("(100,200),(500,400)",), {"lmms-eval": 0, "qwen-vl": 100}),
    ],
)  # fmt: skip
def test_a_reply_is_worth_what_each_variant_says(
    tmp_path: Path, name: str, texts: tuple[str, ...], scores: dict[str, float]
) -> None:
    annotations = SAMPLES[name](tmp_path / name).annotations
    found = {variant: scored(name, variant, annotations, texts).score for variant in scores}
    assert found == {variant: pytest.approx(value) for variant, value in scores.items()}


def test_blink_is_pooled_by_vlmevalkit_and_a_mean_of_tasks_else(tmp_path: Path) -> None:
    row = {"question": "?", "prompt": "?", "choices": ["x", "y"], "answer": "(A)", "image_1": "a.jpg"}
    tasks = ("Jigsaw", "Jigsaw", "Counting")
    rows = [row | {"idx": f"val_{task}_{n}", "sub_task": task} for n, task in enumerate(tasks)]
    path = write_lines(tmp_path / "val.jsonl", rows)
    said = ("A", "B", "A")
    assert scored("blink", "vlmevalkit", path, said).score == pytest.approx(200 / 3)
    assert [scored("blink", variant, path, said).score for variant in ("rules", "direct", "lmms-eval")] == [75] * 3


@pytest.mark.parametrize(
    ("people", "text", "scores"),
    [
        ("two dogs", "2 dogs", {"official": 0, "lmms-eval": 100, "vlmevalkit": 100}),
        # M4C deletes the comma first, so its digits delete no mark: `1000 t shirts` on both sides
        ("1000 t shirts", "1,000 t-shirts", {"official": 0, "lmms-eval": 100, "vlmevalkit": 0}),
        ("2 dogs", "two dogs", {"official": 100, "lmms-eval": 100, "vlmevalkit": 100}),
    ],
)
def test_vizwiz_normalises_one_side_or_both(tmp_path: Path, people: str, text: str, scores: dict[str, float]) -> None:
    row = {"image": "VizWiz_val_00000000.jpg", "question": "?", "answers": [{"answer": people}] * 10}
    path = write_json(tmp_path / "val.json", [row | {"answer_type": "other"}])
    assert {variant: scored("vizwiz", variant, path, (text,)).score for variant in scores} == scores


def test_without_a_tokenizer_a_capital_and_a_full_stop_are_words_that_differ(tmp_path: Path) -> None:
    """Of 6, 5, 4, 3 runs of one to four words 4, 3, 2, 1 are shared; the other caption has nothing."""
    annotations = SAMPLES["captions"](tmp_path / "captions").annotations
    said = ("a dog runs on green grass", "x")
    assert scored("captions", "official", annotations, said).score == pytest.approx(500)
    shared = (4 / 6 + 3 / 5 + 2 / 4 + 1 / 3) / 4
    assert scored("captions", "vlmevalkit", annotations, said).score == pytest.approx(500 * shared)


def test_hallusionbenchs_pictures_and_groups_are_told_apart_by_category(tmp_path: Path) -> None:
    """VD ocr and VS ocr number their sets alike: two pictures and two groups, one of each right."""
    row = {"subcategory": "ocr", "visual_input": "1", "set_id": "0", "figure_id": "1", "question_id": "0"}
    rows = [row | {"category": kind, "question": "?", "gt_answer": "1", "filename": "a.png"} for kind in ("VD", "VS")]
    found = scored("hallusionbench", "rules", write_json(tmp_path / "h.json", rows), ("yes", "no"))
    assert [found.value(name) for name in ("aAcc", "fAcc", "qAcc")] == [50, 50, 50]


def test_scienceqas_pictureless_questions_count_in_all_only(tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": ["x", "y"], "answer": 0, "hint": "", "split": "test", "grade": "grade4"}
    row |= {"subject": "natural science"}
    write_json(tmp_path / "problems.json", {"1": row | {"image": "image.png"}, "2": row | {"image": None}})
    write_json(tmp_path / "pid_splits.json", {"test": ["1", "2"]})
    found = scored("scienceqa", "all", tmp_path, ("A", "B"))
    assert (found.score, scored("scienceqa", "img", tmp_path, ("A", "B")).score) == (50, 100)


def test_popes_number_is_a_mean_of_f1_or_all_answers_pooled(tmp_path: Path) -> None:
    """Two splits: 2 right of 2, F1 1; 1 right of 2 with a false yes, F1 2/3."""
    for split in ("adversarial", "random"):
        rows = [
            {"question_id": n, "image": "a.jpg", "text": f"A {n}?", "label": label}
            for n, label in ((1, "yes"), (2, "no"))
        ]
        write_lines(tmp_path / f"coco_pope_{split}.json", rows)
    said = ("yes", "no", "yes", "yes")
    assert scored("pope", "f1", tmp_path, said).score == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert scored("pope", "accuracy", tmp_path, said).score == 75
