"""Official files of every benchmark, as small as they can be, with right answers in LLaVA's layout: for tests of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.evaluate.score.benchmarks.yes_no.mme import COGNITION, PERCEPTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A benchmark's files on this disk."""

    annotations: Path
    answers: Path
    words: tuple[str, ...] = ()  # further ones of the command
    right: float = 100.0  # what right answers score


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answers(folder: Path, *rows: tuple[Any, str, str]) -> Path:
    """Write an answer file: id, prompt, text."""
    lines = [{"question_id": name, "prompt": prompt, "text": text} for name, prompt, text in rows]
    return write_lines(folder.parent / f"{folder.name}-answers.jsonl", lines)


def vqa(folder: Path) -> Sample:
    people = [{"answer": "2", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
    row = {"question_id": 7, "image_id": 1, "answers": people, "answer_type": "number", "question_type": "how many"}
    write_json(folder / "v2_mscoco_val2014_annotations.json", {"data_subtype": "val2014", "annotations": [row]})
    asked = [{"question_id": 7, "image_id": 1, "question": "How many?"}]
    write_json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
    return Sample(annotations=folder, answers=answers(folder, (7, "How many?", "two")), words=("--variant", "official"))


def gqa(folder: Path) -> Sample:
    step = {"operation": "select", "argument": "dog (1)", "dependencies": []}
    row = {"question": "What is it?", "imageId": "n1", "answer": "dog", "isBalanced": True, "semantic": [step]}
    row |= {"types": {"structural": "query", "semantic": "obj", "detailed": "x"}}
    path = write_json(folder / "testdev_balanced_questions.json", {"201": row})
    return Sample(annotations=path, answers=answers(folder, ("201", "What is it?", "Dog.")))


def scienceqa(folder: Path) -> Sample:
    row = {"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "Look.", "image": "image.png"}
    row |= {"split": "test", "grade": "grade4", "subject": "natural science"}
    write_json(folder / "problems.json", {"5": row})
    write_json(folder / "pid_splits.json", {"test": ["5"]})
    return Sample(annotations=folder, answers=answers(folder, ("5", "<image>\nLook. Which?", "B")))


def textvqa(folder: Path) -> Sample:
    row = {"question_id": 1, "image_id": "0a", "question": "What brand?", "answers": ["nous"] * 10}
    path = write_json(folder / "TextVQA_0.5.1_val.json", {"data": [row]})
    return Sample(annotations=path, answers=answers(folder, ("0a", "What brand?\nAnswer.", "nous")))


def pope(folder: Path) -> Sample:
    rows = [
        {"question_id": n, "image": "a.jpg", "text": f"Is there a {n}?", "label": label}
        for n, label in enumerate(("yes", "no"), start=1)
    ]
    path = write_lines(folder / "coco_pope_random.json", rows)
    return Sample(
        annotations=path, answers=answers(folder, (1, "Is there a 1?", "Yes"), (10_000_002, "Is there a 2?", "No"))
    )


def mme(folder: Path) -> Sample:
    said = []
    for task in (*PERCEPTION, *COGNITION):
        texts = folder / task / ("questions_answers_YN" if task == "scene" else ".")
        texts.mkdir(parents=True)
        (texts / "a.txt").write_text("A cat? Please answer yes or no.\tYes\nA dog?  Please answer yes or no.\tNo\n")
        name = f"{task}/images/a.png" if task == "scene" else f"{task}/a.png"
        said += [(name, f"A {one}?", text) for one, text in (("cat", "Yes"), ("dog", "No"))]
    return Sample(annotations=folder, answers=answers(folder, *said), right=2000)


def mmbench(folder: Path) -> Sample:
    folder.mkdir(parents=True)
    rows = [("index", "question", "hint", "A", "B", "answer", "category", "image"),
            ("3", "Which?", "", "x", "y", "A", "c", "aGk="), ("1000003", "Which?", "", "y", "x", "B", "c", "3")]  # fmt: skip
    path = folder / "mmbench_dev.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return Sample(annotations=path, answers=answers(folder, (3, "Which?", "A"), (1_000_003, "Which?", "B")))


def mmvet(folder: Path) -> Sample:
    row = {"imagename": "v1_0.png", "question": "How many?", "answer": "4<AND>5", "capability": ["ocr", "math"]}
    write_json(folder / "mm-vet.json", {"v1_0": row})
    (folder / "prompt.txt").write_text("Few shots\n")
    return Sample(annotations=folder, answers=answers(folder, (0, "How many?", "four")))


def llavabench(folder: Path) -> Sample:
    write_lines(
        folder / "questions.jsonl", [{"question_id": 0, "image": "001.jpg", "category": "conv", "text": "What?"}]
    )
    write_lines(folder / "context.jsonl", [{"image": "001.jpg", "caption": ["A dog.", "It runs."]}])
    write_lines(folder / "answers_gpt4.jsonl", [{"question_id": 0, "text": "A dog runs."}])
    write_json(folder / "rule.json", {"llava_bench_conv": {"role": "Assistant", "prompt": "Rate."}})
    return Sample(annotations=folder, answers=answers(folder, (0, "What?", "A dog.")))


def mmmu(folder: Path) -> Sample:
    name, open_name = "validation_Math_1", "validation_Music_2"
    truths = {name: {"question_type": "multiple-choice", "ground_truth": "B"}}
    truths[open_name] = {"question_type": "open", "ground_truth": ["a third", "0.33"]}
    write_json(folder / "answer_dict_val.json", truths)
    asked: list[dict[str, Any]] = [
        {"id": name, "question_type": "multiple-choice", "prompt": "Which?", "image": "a.png", "all_choices": ["A", "B"],
         "index2ans": {"A": "x", "B": "y"}},
        {"id": open_name, "question_type": "open", "prompt": "How much?"},
    ]  # fmt: skip
    write_json(folder / "anns_for_eval.json", asked)
    return Sample(annotations=folder, answers=answers(folder, (name, "Which?", "B"), (open_name, "How much?", "0.33")))


def chair(folder: Path) -> Sample:
    instances = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 18, "name": "dog"}]}
    write_json(folder / "instances_val2014.json", instances | {"annotations": [{"image_id": 1, "category_id": 18}]})
    captions = {"images": instances["images"], "annotations": [{"image_id": 1, "caption": "A dog runs."}]}
    write_json(folder / "captions_val2014.json", captions)
    return Sample(
        annotations=folder,
        answers=answers(folder, (1, "Please describe this image in detail.", "A dog.")),
        right=0,
    )


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    one.__name__: one for one in (vqa, gqa, scienceqa, textvqa, pope, mme, mmbench, mmvet, llavabench, mmmu, chair)
}
