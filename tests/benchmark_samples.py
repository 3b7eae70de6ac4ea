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
    return Sample(annotations=folder, answers=answers(folder, (7, "How many?", "two")))


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


def mmstar(folder: Path) -> Sample:
    rows = [
        {"index": n, "question": f"Which {n}?\nOptions: A: x, B: y, C: z, D: w", "answer": letter,
         "category": "math", "l2_category": kind}
        for n, (letter, kind) in enumerate((("B", "geometry"), ("C", "numbers")))
    ]  # fmt: skip
    path = write_lines(folder / "mmstar.jsonl", rows)
    return Sample(
        annotations=path, answers=answers(folder, (0, rows[0]["question"], "B"), (1, rows[1]["question"], "C"))
    )


def ai2d(folder: Path) -> Sample:
    rows = [{"question": "Which?", "options": ["sun", "moon", "star", "sky"], "answer": "1"}]
    path = write_lines(folder / "ai2d.jsonl", rows)
    return Sample(annotations=path, answers=answers(folder, (0, "Which?", "B")))


def seedbench(folder: Path) -> Sample:
    row = {f"choice_{letter}": letter * 2 for letter in "abcd"} | {
        "answer": "D",
        "data_id": "1_2",
        "question": "Which?",
    }
    rows = [
        row | {"question_id": name, "data_type": kind, "question_type_id": 1}
        for name, kind in (("7", "image"), ("v8", "video"))
    ]
    path = write_json(folder / "SEED-Bench.json", {"question_type": {"Scene": 1}, "questions": rows})
    return Sample(annotations=path, answers=answers(folder, ("7", "Which?", "D")))


def realworldqa(folder: Path) -> Sample:
    rows = [{"question": "Which way?\nA. left\nB. right\n", "answer": "B"}, {"question": "How many?", "answer": "3"}]
    path = write_lines(folder / "realworldqa.jsonl", rows)
    return Sample(
        annotations=path, answers=answers(folder, (0, "Which way?\nA. left\nB. right", "B"), (1, "How many?", "3."))
    )


def blink(folder: Path) -> Sample:
    """In Parquet, with pictures in its cells: two of one question, one of the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"idx": f"val_{task}_1", "sub_task": task, "question": "Which?", "prompt": "Which? (A) x (B) y",
         "choices": ["x", "y"], "answer": "(B)", "image_1": {"bytes": b"1", "path": "a"},
         "image_2": {"bytes": b"2", "path": "b"} if task == "Jigsaw" else None, "image_3": None, "image_4": None}
        for task in ("Jigsaw", "Counting")
    ]  # fmt: skip
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds: dict[str, Any] = {name: pa.string() for name in ("idx", "sub_task", "question", "prompt", "answer")}
    kinds |= {"choices": pa.list_(pa.string())} | {f"image_{number}": picture for number in range(1, 5)}
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(kinds.items()))), folder / "val.parquet")
    said = [(row["idx"], "Which? (A) x (B) y", "(B)") for row in rows]
    return Sample(annotations=folder, answers=answers(folder, *said))


def cvbench(folder: Path) -> Sample:
    rows = [
        {"idx": n, "type": "2D" if n < 2 else "3D", "task": "Count", "source": source, "prompt": f"Which {n}?",
         "choices": ["x", "y"], "answer": "(A)", "filename": "a.png"}
        for n, source in enumerate(("ADE20K", "COCO", "Omni3D"))
    ]  # fmt: skip
    path = write_lines(folder / "cvbench.jsonl", rows)
    return Sample(annotations=path, answers=answers(folder, *((n, f"Which {n}?", "(A)") for n in range(3))))


def mmvp(folder: Path) -> Sample:
    folder.mkdir(parents=True)
    path = folder / "Questions.csv"
    path.write_text("Index,Question,Options,Correct Answer\n1,Tall?,(a) Yes (b) No,(a)\n2,Tall?,(a) Yes (b) No,(b)\n")
    return Sample(annotations=path, answers=answers(folder, (1, "Tall?", "A"), (2, "Tall?", "B")))


def mmmu_pro(folder: Path) -> Sample:
    name = "test_Math_1"
    row = {"id": name, "question": "<image 2> or <image 1>?", "options": "['x', 'y']", "answer": "B", "subject": "Math"}
    path = write_lines(folder / "standard.jsonl", [row])
    return Sample(annotations=path, answers=answers(folder, (name, "<image 2> or <image 1>?", "Answer: B")))


def chartqa(folder: Path) -> Sample:
    for split in ("human", "augmented"):
        write_json(folder / f"test_{split}.json", [{"imgname": f"{split}.png", "query": "How much?", "label": "100"}])
    return Sample(
        annotations=folder,
        answers=answers(folder, ("human-0", "How much?", "105"), ("augmented-0", "How much?", "100")),
    )


def docvqa(folder: Path) -> Sample:
    row = {"questionId": 49, "question": "Who?", "image": "documents/a_1.png", "answers": ["Dr. No", "No"]}
    path = write_json(folder / "val_v1.0.json", {"data": [row | {"question_types": ["form", "layout"]}]})
    return Sample(annotations=path, answers=answers(folder, (49, "Who?", "dr. no")))


def infovqa(folder: Path) -> Sample:
    row = {"questionId": 65, "question": "Who?", "image_local_name": "1.jpeg", "answers": ["No"]}
    path = write_json(folder / "infographicsVQA_val_v1.0.json", {"data": [row]})
    return Sample(annotations=path, answers=answers(folder, ("65", "Who?", "no")))


def ocrbench(folder: Path) -> Sample:
    rows = [
        {"dataset_name": "IIIT5K", "type": "Regular Text Recognition", "question": "What?", "answers": "EXIT"},
        {"dataset_name": "HME100k", "type": "Handwritten Mathematical Expression Recognition", "question": "What is it?",
         "answers": ["a + B"]},
    ]  # fmt: skip
    path = write_json(folder / "OCRBench.json", rows)
    return Sample(
        annotations=path, answers=answers(folder, (0, "What?", "the exit."), (1, "What is it?", "a+B")), right=2
    )


def ocrbench_v2(folder: Path) -> Sample:
    row = {"dataset_name": "x", "question": "What?", "image_path": "EN_part/a.jpg"}
    rows = [
        row | {"id": 1, "type": "cognition VQA en", "answers": ["Exit"]},
        row | {"id": 2, "type": "text counting en", "answers": [4], "eval": "regression"},
        row | {"id": 3, "type": "text grounding en", "answers": [10, 20, 30, 40]},
        row | {"id": 4, "type": "full-page OCR en", "answers": ["passed over"]},
        row | {"id": 5, "type": "key information extraction en", "answers": [{"total": ["3", "3.00"]}]},
        row | {"id": 6, "type": "VQA with position en", "answers": ["Exit"], "bbox": [1, 2, 30, 40]},
        row | {"id": 7, "type": "text spotting en", "bbox": [[1, 2, 9, 2, 9, 8, 1, 8]], "content": ["EXIT"]},
        row | {"id": 8, "type": "document parsing cn", "answers": ["# One\nline"]},
    ]
    path = write_json(folder / "OCRBench_v2.json", rows)
    said = [
        (1, "the exit"), (2, "4 times"), (3, "(10, 20, 30, 40)"), (5, '{"total": "3"}'),
        (6, '{"answer": "exit", "bbox": "[1, 2, 30, 40]"}'), (7, '[[1, 2, 9, 8, "exit"]]'), (8, "# One\nline"),
    ]  # fmt: skip
    return Sample(annotations=path, answers=answers(folder, *((name, "What?", text) for name, text in said)))


def mathvista(folder: Path) -> Sample:
    row = {"unit": None, "precision": None, "metadata": {"task": "geometry", "category": "math"}}
    rows = {
        "1": row | {"question": "Which?", "image": "images/1.jpg", "choices": ["4", "5"], "answer": "5",
                    "question_type": "multi_choice", "answer_type": "text"},
        "2": row | {"question": "How long?", "image": "images/2.jpg", "choices": None, "answer": "1.5", "precision": 1.0,
                    "question_type": "free_form", "answer_type": "float"},
    }  # fmt: skip
    path = write_json(folder / "testmini.json", rows)
    return Sample(annotations=path, answers=answers(folder, ("1", "Which?", "B"), ("2", "How long?", "1.50")))


def vizwiz(folder: Path) -> Sample:
    people = [{"answer": "unanswerable", "answer_confidence": "yes"}] * 10
    row = {
        "image": "VizWiz_val_00000000.jpg",
        "question": "What is it?",
        "answers": people,
        "answer_type": "unanswerable",
    }
    path = write_json(folder / "val.json", [row])
    return Sample(annotations=path, answers=answers(folder, (row["image"], "What is it?", "Unanswerable")))


def hallusionbench(folder: Path) -> Sample:
    row = {
        "category": "VD",
        "subcategory": "ocr",
        "visual_input": "1",
        "set_id": "0",
        "question": "Is it?",
        "gt_answer": "1",
    }
    rows = [row | {"figure_id": figure, "question_id": "0", "filename": f"./VD/{figure}.png"} for figure in ("0", "1")]
    rows.append(row | {"figure_id": "0", "question_id": "9", "visual_input": "0", "filename": None})
    path = write_json(folder / "HallusionBench.json", rows)
    said = [(f"VD_ocr_0_{figure}_0", "Is it?", "Yes.") for figure in (0, 1)]
    return Sample(annotations=path, answers=answers(folder, *said))


def captions(folder: Path) -> Sample:
    """Two captions word for word: CIDEr 10 each, but that nothing is said twice of another picture."""
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2)]
    texts = {1: "a dog runs on green grass", 2: "two people eat red apples outside"}
    written = [{"image_id": n, "caption": text.capitalize() + "."} for n, text in texts.items()]
    path = write_json(folder / "captions_val.json", {"images": images, "annotations": written})
    asked = "Provide a one-sentence caption for the provided image."
    return Sample(
        annotations=path, answers=answers(folder, *((n, asked, text) for n, text in texts.items())), right=1000
    )


def refcoco(folder: Path) -> Sample:
    row = {"question_id": "r1", "answer": ["left dog"], "bbox": [10, 20, 40, 20], "width": 100, "height": 100}
    path = write_lines(folder / "refcoco.jsonl", [row])
    return Sample(annotations=path, answers=answers(folder, ("r1-0", "left dog", "[0.1, 0.2, 0.5, 0.4]")))


def easyvqa(folder: Path) -> Sample:
    rows = [["what is the red shape?", "circle", 0], ["is there a red shape?", "yes", 0], ["what color?", "red", 1]]
    path = write_json(folder / "questions.json", rows)
    said = [(0, "what is the red shape?", "Circle."), (2, "what color?", "red")]
    return Sample(annotations=path, answers=answers(folder, *said))


def own(folder: Path) -> Sample:
    rows = [
        {"id": "n1", "question": "What is it?", "image": "a.jpg", "answer": "a cat", "category": "animals"},
        {"id": "n2", "question": "How many?", "image": ["a.jpg", "b.jpg"], "answers": [2, "two"]},
        {"id": "n3", "question": "Which?", "options": ["x", "y"], "answer": "y"},
    ]
    path = write_lines(folder / "mine.jsonl", rows)
    said = [("n1", "What is it?", "A  cat."), ("n2", "How many?", "two"), ("n3", "Which?\nA. x\nB. y", "y")]
    return Sample(annotations=path, answers=answers(folder, *said))


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        *(vqa, gqa, scienceqa, textvqa, pope, mme, mmbench, mmvet, llavabench, mmmu, chair),
        *(mmstar, ai2d, seedbench, realworldqa, blink, cvbench, mmvp, mmmu_pro),
        *(chartqa, docvqa, infovqa, ocrbench, ocrbench_v2, mathvista, vizwiz, hallusionbench, captions, refcoco),
        *(easyvqa, own),
    )
}
