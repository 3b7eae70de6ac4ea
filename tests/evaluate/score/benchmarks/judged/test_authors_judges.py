"""BLINK, MathVista, HallusionBench and MMVP as their authors judge: what the judge is told, and what its reply is worth.

The scripts here are of the authors' shape, with words of our own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_samples import SAMPLES, write_json
from judge_server import judge_server

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.authors_prompt import authors_prompt, filled, slots
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.benchmarks.short_answer.mathvista import nearest, normalised
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.scoring import Scored, score

BLINK = 'def build_prompt(q, o, p):\n    tmpl = ("Match:\\n"\n        "Question: {}?\\nOptions: {}\\nAnswer: {}\\nYours: ")\n'
MATHVISTA = 'demo_prompt = """\nExtract it.\n"""'
MMVP = "import nowhere\nwith open(x) as f:\n    question4gpt = f'Q {question}, right {correct_answer}, said:{model_response}?'\n"
HALLUSION = """
def evaluate_by_chatgpt(data, output_entry):
    for sample in data:
        prompt = 'Judge. '
        prompt += 'Question:'
        prompt += sample['question']
        prompt += ' Right: '
        prompt += sample['gt_answer_details']
        prompt += ' Said: '
        prompt += sample[output_entry]
def check_same_by_chatgpt(data):
    prompt = 'Alike? '
    prompt += sample[output_entry]
    prompt += ' Or '
    prompt += response2
"""
SCRIPTS = {
    "blink": ("multiple_choice.py", BLINK),
    "mathvista": ("ext_ans.py", MATHVISTA),
    "mmvp": ("gpt_grader.py", MMVP),
    "hallusionbench": ("utils.py", HALLUSION),
}


def questions(tmp_path: Path, name: str) -> list[Question]:
    annotations = SAMPLES[name](tmp_path / name).annotations
    script, text = SCRIPTS[name]
    ((annotations if annotations.is_dir() else annotations.parent) / script).write_text(text)
    return benchmark(name).variant("judge").read(Files(annotations=annotations))


def judged(tmp_path: Path, name: str, texts: list[str], replies: list[str]) -> tuple[Scored, list[dict]]:
    asked = questions(tmp_path, name)
    answers = {one.question_id: text for one, text in zip(asked, texts, strict=True)}
    with judge_server(list(replies)) as server:
        judge = Judge(server.url, "gpt", None, tmp_path / "judge.jsonl", wait_s=0.001)
        return score(benchmark(name), "judge", asked, answers, judge), server.asked


def test_blinks_judge_is_asked_only_what_the_rules_do_not_read_and_must_say_an_option(tmp_path: Path) -> None:
    found, asked = judged(tmp_path, "blink", ["I see the second", "(B)"], ["(B)"])
    assert (found.score, found.num_unparsed) == (100, 0)
    told = "Match:\nQuestion: Which?\nSelect from the following choices?\nOptions: (A) x\n(B) y\nAnswer: I see the second\nYours: "
    assert asked == [{"model": "gpt", "messages": [{"role": "user", "content": told}], "temperature": 0.0}]


@pytest.mark.parametrize("reply", ["B", "(Z)", "(B) y", ""])
def test_any_other_reply_of_blinks_judge_is_wrong(tmp_path: Path, reply: str) -> None:
    found, _ = judged(tmp_path, "blink", ["hm", "(B)"], [reply])
    assert (found.score, found.num_unparsed) == (50, 1)


def test_mathvistas_judge_extracts_what_is_no_bare_answer(tmp_path: Path) -> None:
    found, asked = judged(tmp_path, "mathvista", ["It must be B", "about 1.52 m"], ["B", " 1.52 "])
    assert found.score == 100
    assert [one.parsed for one in found.items] == ["5", "1.5"]
    assert asked[0]["messages"][0]["content"] == (
        "Extract it.\n\nHint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the "
        "end.\nQuestion: Which?\nChoices:\n(A) 4\n(B) 5\n\nIt must be B\n\nExtracted answer: "
    )
    assert (asked[0]["temperature"], asked[0]["max_tokens"]) == (0.0, 1024)
    nobody, asked = judged(tmp_path / "bare", "mathvista", ["5", "1.5"], [])
    assert (nobody.score, asked) == (100, [])


def test_mathvistas_model_is_asked_as_the_authors_ask(tmp_path: Path) -> None:
    assert [one.text for one in questions(tmp_path, "mathvista")][1] == (
        "Hint: Please answer the question requiring a floating-point number with one decimal place and provide the final "
        "value, e.g., 1.2, 1.3, 1.4, at the end.\nQuestion: How long?"
    )


def test_a_letter_in_brackets_anywhere_is_mathvistas_choice() -> None:
    assert nearest("the answer is (b)", ("the answer", "no")) == "no"
    assert nearest("(q)", ("four", "(q)")) == "(q)"  # no letter of an option: the nearest to `Q` is the shorter


@pytest.mark.parametrize(
    ("said", "kind", "compared"),
    [("7.9", "integer", "7"), ("1.26", "float1", "1.3"), ("x", "float2", None), ("[1, 2]", "list", "[1, 2]")],
)
def test_an_extracted_number_is_truncated_or_rounded(said: str, kind: str, compared: str | None) -> None:
    one = Question(question_id=1, image=None, text="", gold=("7",), category=kind)
    assert normalised(said, one) == compared


def test_nothing_extracted_is_the_shortest_choice_and_unparsed(tmp_path: Path) -> None:
    found, _ = judged(tmp_path, "mathvista", ["", ""], [""])
    assert [(one.parsed, one.unparsed) for one in found.items] == [("4", True), ("", True)]


def test_mmvps_judge_says_yes_or_no_and_a_pair_needs_two(tmp_path: Path) -> None:
    found, asked = judged(tmp_path, "mmvp", ["It is.", "No"], ["Yes", "yes."])
    assert (found.metric, found.score, found.value("accuracy"), found.num_unparsed) == ("pair_accuracy", 0, 50, 1)
    assert asked[0]["messages"][1]["content"] == "Q Tall? (a) Yes (b) No, right (a), said:It is.?"
    assert (asked[0]["temperature"], "max_tokens" in asked[0]) == (0.2, False)
    assert [one.text for one in questions(tmp_path / "asked", "mmvp")] == ["Tall? (a) Yes (b) No"] * 2


def test_hallusionbenchs_judge_also_grades_questions_without_a_picture(tmp_path: Path) -> None:
    """Set 0: figure 0 (no picture, of VS) and figures 1, 2. Unclear is right only without a picture."""
    row = {"category": "VS", "subcategory": "map", "set_id": "0", "question_id": "0", "question": "Is it?"}
    row |= {"gt_answer": "1", "gt_answer_details": "It is."}
    rows = [row | {"figure_id": str(n), "visual_input": str(n), "filename": None} for n in range(3)]
    path = write_json(tmp_path / "HallusionBench.json", rows)
    (tmp_path / "utils.py").write_text(HALLUSION)
    asked = benchmark("hallusionbench").variant("judge").read(Files(annotations=path))
    assert [one.pictures for one in asked] == [(), ("VS_map_0_1_0",), ("VS_map_0_2_0",)]
    with judge_server(["hard to say", "That is Incorrect, not correct", "correct"]) as server:
        judge = Judge(server.url, "gpt", None, tmp_path / "judge.jsonl")
        found = score(
            benchmark("hallusionbench"),
            "judge",
            asked,
            dict(zip([one.question_id for one in asked], ("Yes", "No", "Sure"), strict=True)),
            judge,
        )
        assert server.asked[0] == {
            "model": "gpt", "messages": [{"role": "user", "content": "Judge. Question:Is it? Right: It is. Said: Yes"}]
        }  # fmt: skip
    assert [one.score for one in found.items] == [1, 0, 1]
    # pictures: figures 1 and 2; one group of questions; easy: figures 0 and 1; hard: figure 2
    values = [found.value(name) for name in ("aAcc", "fAcc", "qAcc", "easy qAcc", "hard qAcc")]
    assert values == [pytest.approx(200 / 3), 50, 0, 0, 100]


def diagnosed(tmp_path: Path, rows: list[dict], replies: list[str]) -> tuple[Scored, list[str]]:
    """Score `Answer 0`, `Answer 1`, ... of rows of one group of questions -> (the score, what the judge was told)."""
    row = {"subcategory": "map", "set_id": "0", "question_id": "0", "question": "Is it?", "gt_answer": "1"}
    row |= {"gt_answer_details": "It is.", "filename": None}
    path = write_json(tmp_path / "HallusionBench.json", [row | one for one in rows])
    (tmp_path / "utils.py").write_text(HALLUSION)
    asked = benchmark("hallusionbench").variant("judge").read(Files(annotations=path))
    answers = {one.question_id: f"Answer {place}" for place, one in enumerate(asked)}
    with judge_server(list(replies)) as server:
        judge = Judge(server.url, "gpt", None, tmp_path / "judge.jsonl")
        found = score(benchmark("hallusionbench"), "judge", asked, answers, judge)
        return found, [one["messages"][0]["content"] for one in server.asked]


@pytest.mark.parametrize(
    ("kind", "seen", "replies", "causes"),
    [
        ("VD", "2", ["correct", "incorrect", "They are the Same."], ["", "mixed"]),
        ("VD", "2", ["correct", "incorrect", "different"], ["", "VI"]),
        ("VD", "2", ["correct", "incorrect", "hm"], ["", "VI"]),
        ("VD", "2", ["correct", "unclear"], ["", "VI"]),
        ("VD", "2", ["unclear", "incorrect"], ["VI", "VI"]),
        ("VD", "2", ["incorrect", "correct"], ["VI", ""]),
        ("VS", "1", ["incorrect", "incorrect", "same"], ["LH", "LH"]),
        ("VS", "1", ["incorrect", "incorrect", "different"], ["LH", "mixed"]),
        ("VS", "1", ["incorrect", "unclear"], ["LH", "mixed"]),
        ("VS", "2", ["unclear", "incorrect"], ["", "VI"]),
        ("VS", "2", ["unclear", "unclear"], ["", "VI"]),
        ("VS", "1", ["correct", "incorrect"], ["", "VI"]),
        ("VS", "2", ["correct", "incorrect", "same"], ["", "LH"]),
        ("VS", "2", ["correct", "incorrect", "different"], ["", "VI"]),
        ("VS", "2", ["correct", "unclear"], ["", "VI"]),
        ("VS", "2", ["correct", "correct"], ["", ""]),
    ],
)
def test_hallusionbench_lays_a_wrong_answer_to_language_vision_or_either(
    tmp_path: Path, kind: str, seen: str, replies: list[str], causes: list[str]
) -> None:
    """`get_eval_pair_all` of the authors: figure 0 is the original, of VS without a picture; `seen` 2 is edited."""
    first = {"category": kind, "figure_id": "0", "visual_input": "1" if kind == "VD" else "0"}
    found, told = diagnosed(tmp_path, [first, first | {"figure_id": "1", "visual_input": seen}], replies)
    named = ("LH", "VI", "mixed")
    assert [
        next((name for name, one in zip(named, item.counts[1:], strict=True) if one), "") for item in found.items
    ] == causes
    wrong = [cause for cause in causes if cause]
    shares = [100 * wrong.count(name) / max(1, len(wrong)) for name in named]
    assert [found.value(name) for name in named] == shares
    assert told[2:] == ["Alike? Answer 1 Or Answer 0"] * (len(replies) - 2)  # asked only where it decides


def test_hallusionbench_tells_the_lean_towards_yes(tmp_path: Path) -> None:
    """`yes_no_bias`: four questions, one yes. Right on it and on one no, wrong on two no: yes three times, 75 less 25; both wrong are no."""
    rows = [
        {"category": "VD", "figure_id": "0", "visual_input": "1", "question_id": str(number), "gt_answer": gold}
        for number, gold in enumerate("1000")
    ]
    found, _ = diagnosed(tmp_path, rows, ["correct", "correct", "incorrect", "incorrect"])
    assert found.value("yes_ratio") == 75
    assert found.value("yes_bias") == 50
    assert found.value("no_among_wrong") == 100


def test_hallusionbench_has_no_causes_where_an_original_is_missing(tmp_path: Path) -> None:
    """The hub's split of pictures lacks the questions of VS that are asked without one."""
    found, _ = diagnosed(tmp_path, [{"category": "VS", "figure_id": "1", "visual_input": "1"}], ["incorrect"])
    assert "LH" not in {one.name for one in found.subscores}


def test_another_version_of_hallusionbenchs_second_question_is_told(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text(HALLUSION.replace("response2", "response3"))
    path = write_json(tmp_path / "HallusionBench.json", [{}])
    with pytest.raises(BadInput, match="fills in 'response3'; expected only response2"):
        benchmark("hallusionbench").variant("judge").read(Files(annotations=path))


def test_a_prompt_is_read_without_running_the_script(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("raise SystemExit('run')\nt = 'one ' + f'{x.y} two'\nt += more[0]\n")
    found = authors_prompt(Files(annotations=tmp_path), "a.py", "t", where="somewhere")
    assert slots(found) == ["x.y", "more[0]"]
    assert filled(found, {"x.y": "\x01more[0]\x02", "more[0]": "!"}) == "one \x01more[0]\x02 two!"
    with pytest.raises(BadInput, match=r"fills in 'more\[0\]'; expected only x.y"):
        filled(found, {"x.y": ""})


@pytest.mark.parametrize(
    ("text", "fault"),
    [(None, "no such file; variant judge takes"), ("def (", "not a Python file"), ("u = 'x'", "no text 't' in it")],
)
def test_a_script_that_is_missing_or_another_is_told(tmp_path: Path, text: str | None, fault: str) -> None:
    if text is not None:
        (tmp_path / "a.py").write_text(text)
    with pytest.raises(BadInput, match=f"a.py: {fault}"):
        authors_prompt(Files(annotations=tmp_path / "rows.json"), "a.py", "t", where="somewhere")


def test_hidden_answers_are_no_judges_business(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    row = {"idx": "t", "sub_task": "x", "prompt": "?", "question": "?", "choices": ["a", "b"], "answer": "hidden"}
    path.write_text(json.dumps(row))
    (tmp_path / "multiple_choice.py").write_text(BLINK)
    asked = benchmark("blink").variant("judge").read(Files(annotations=path))
    with pytest.raises(BadInput, match="not public"):
        score(benchmark("blink"), "judge", asked, {"t": "A"}, Judge("http://127.0.0.1:1", "m", None, tmp_path / "j"))
