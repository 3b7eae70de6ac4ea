"""Three small benchmarks of the toy world in newer file formats: options (MMStar's), ANLS (DocVQA's), two pictures (BLINK's).

They run the same roads as the real ones, from question to score. The toy recipe does not train for letters, so a small model
scores near chance on two of them. Written beside the others by build.py.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tinyllava_core.toyworld.files import jpeg, write_archive, write_docvqa, write_json_lines
from tinyllava_core.toyworld.scene import COLOURS, make_scene
from tinyllava_core.toyworld.text import ask

NUM_CHOICE, NUM_DOCS, NUM_PAIRS = 120, 60, 60
LETTERS = "ABCD"


def build_choice(folder: Path, count: int = NUM_CHOICE) -> None:
    """Write colours with four options, in MMStar's columns."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    pictures = []
    for index in range(count):
        scene, rng = make_scene("choice", index), random.Random(f"choice/text/{index}")
        question = ask(scene, "colour", rng)
        assert question is not None, "every scene has a colour to ask for"
        options = rng.sample([one for one in COLOURS if one != question.answer], len(LETTERS) - 1)
        options.insert(rng.randrange(len(LETTERS)), question.answer)
        listed = ", ".join(f"{letter}: {text}" for letter, text in zip(LETTERS, options, strict=True))
        rows.append(
            {
                "index": index,
                "question": f"{question.text}\nOptions: {listed}",
                "answer": LETTERS[options.index(question.answer)],
                "category": "fine-grained perception",
                "l2_category": f"{len(scene.shapes)} shapes",
            }
        )
        pictures.append((f"{index}.jpg", jpeg(scene)))
    write_json_lines(folder / "toy_mmstar.jsonl", rows)
    write_archive(folder / "images.zip", pictures)


def build_docs(folder: Path, count: int = NUM_DOCS) -> None:
    """Write questions about what is printed, in DocVQA's file format."""
    folder.mkdir(parents=True)
    asked = []
    for index in range(count):
        scene = make_scene("docs", index, printed=True)
        question = ask(scene, "reading", random.Random(f"docs/text/{index}"))
        assert question is not None, "the scene was asked to have something printed"
        asked.append((question.text, question.answer, f"documents/toy_{index}.jpg", jpeg(scene)))
    write_docvqa(folder, "toy_docvqa_val.json", "toydocvqa", 100, asked)


def build_pairs(folder: Path, count: int = NUM_PAIRS) -> None:
    """Write questions about two pictures, which of them has more shapes, in BLINK's columns."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    pictures = []
    for index in range(count):
        many = index % 2
        scenes = [make_scene(f"pairs/{side}", index, min_shapes=3 if side == many else 1) for side in range(2)]
        sizes = [len(scene.shapes) for scene in scenes]
        names = [f"{index}-{side}.jpg" for side in range(2)]
        pictures += [(name, jpeg(scene)) for name, scene in zip(names, scenes, strict=True)]
        if sizes[0] == sizes[1]:
            continue
        question = "Which image has more shapes?"
        rows.append(
            {
                "idx": f"val_Counting_{len(rows) + 1}",
                "sub_task": "Counting",
                "question": question,
                "prompt": f"{question}\nSelect from the following choices.\n(A) the first\n(B) the second",
                "choices": ["the first", "the second"],
                "answer": "(A)" if sizes[0] > sizes[1] else "(B)",
                "image_1": names[0],
                "image_2": names[1],
            }
        )
    write_json_lines(folder / "toy_blink_val.jsonl", rows)
    write_archive(folder / "images.zip", pictures)
