"""Write the toy world as the files that its server offers: LLaVA JSON, archives, a URL table, five benchmarks.

The files have the published shapes, so that they take the road that real data takes. It serves nothing: server.py does.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinyllava_core.toyworld.files import jpeg, write_archive, write_json, write_json_lines
from tinyllava_core.toyworld.flawed import build_flawed
from tinyllava_core.toyworld.posters import build_asked, build_posters
from tinyllava_core.toyworld.scene import IMAGE_SIZE, KINDS, Scene, make_scene, render
from tinyllava_core.toyworld.text import (
    OPEN_KINDS,
    Question,
    ask_many,
    caption,
    chat,
    existence,
    human_answers,
    kinds_shown,
    long_caption,
    retell,
)
from tinyllava_core.toyworld.twins import build_choice, build_docs, build_pairs

VERSION = 8  # of the world: another number is another tree
NUM_CAPTIONS = 4800
NUM_LONG_CAPTIONS = 1200
NUM_CHATS = 4200
NUM_CHATS_TEXT_ONLY = 150  # of those
NUM_PLACES = 600
NUM_POPE_IMAGES = 75  # four questions each
NUM_VQA_IMAGES = 140  # three questions each

_DESCRIBE = ("Describe the image briefly.", "What is in this picture?", "Give a short description of the image.")
_DETAILED = "Describe the image in detail."


def build(root: Path) -> None:
    """Write the whole tree under `root`."""
    build_captions(root / "captions")
    build_long_captions(root / "long-captions")
    build_chat(root / "chat")
    build_places(root / "places")
    build_pope(root / "pope")
    build_vqa(root / "vqa")
    build_choice(root / "choice")
    build_docs(root / "docs")
    build_pairs(root / "pairs")
    build_posters(root / "posters")
    build_flawed(root / "flawed")
    build_asked(root / "asked-posters")


def build_captions(folder: Path, count: int = NUM_CAPTIONS) -> None:
    """Write the source of `pretrain`: one caption a picture, `<image>` first or last, as LLaVA's pretrain data."""
    folder.mkdir(parents=True)
    scenes = {_shard_name(index): make_scene("captions", index) for index in range(count)}
    records = []
    for index, (name, scene) in enumerate(scenes.items()):
        rng = random.Random(f"captions/text/{index}")
        request = rng.choice(_DESCRIBE)
        human = f"<image>\n{request}" if rng.random() < 0.5 else f"{request}\n<image>"
        records.append(_record(f"{index:09d}", name, [(human, caption(scene))]))
    write_json(folder / "captions.json", records)
    write_archive(folder / "images.zip", ((name, jpeg(scene)) for name, scene in scenes.items()))


def build_long_captions(folder: Path, count: int = NUM_LONG_CAPTIONS) -> None:
    """Write the source of `second_pretrain`: several sentences a picture, as ShareGPT4V's captions are to LLaVA's."""
    folder.mkdir(parents=True)
    scenes = {_shard_name(index): make_scene("long-captions", index, min_shapes=2) for index in range(count)}
    records = []
    for index, (name, scene) in enumerate(scenes.items()):
        rng = random.Random(f"long-captions/text/{index}")
        records.append(_record(f"{index:09d}", name, [(f"<image>\n{_DETAILED}", long_caption(scene, rng))]))
    write_json(folder / "long-captions.json", records)
    write_archive(folder / "images.zip", ((name, jpeg(scene)) for name, scene in scenes.items()))


def build_chat(folder: Path, count: int = NUM_CHATS, num_text_only: int = NUM_CHATS_TEXT_ONLY) -> None:
    """Write the large source of `sft`: several questions a picture; a few records are text alone, as in LLaVA's."""
    folder.mkdir(parents=True)
    scenes = [make_scene("chat", index) for index in range(count)]
    text_only = set(random.Random("chat/text-only").sample(range(count), num_text_only))
    records = []
    for index, scene in enumerate(scenes):
        rng = random.Random(f"chat/text/{index}")
        turns = chat(scene, rng)
        if index in text_only:
            (first, answer), *rest = turns
            records.append(_record(f"toy_{index}", None, [(f"{retell(scene, rng)}\n{first}", answer), *rest]))
        else:
            (first, answer), *rest = turns
            records.append(
                _record(f"{index:012d}", f"chat/{_shard_name(index)}", [(f"<image>\n{first}", answer), *rest])
            )
    write_json(folder / "chat.json", records)
    pictures = ((f"chat/{_shard_name(i)}", jpeg(scene)) for i, scene in enumerate(scenes) if i not in text_only)
    write_archive(folder / "images.zip", pictures)


def build_places(folder: Path, count: int = NUM_PLACES) -> None:
    """Write the small source of `sft`: where things are; its pictures come one by one, from a table of URLs."""
    (folder / "photos").mkdir(parents=True)
    records, rows = [], []
    for index in range(count):
        scene = make_scene("places", index, min_shapes=2)
        rng = random.Random(f"places/text/{index}")
        (first, answer), *rest = chat(scene, rng, ("position", "position", "relation", "relation", "colour", "shape"))
        name = f"{index:06d}.png"
        records.append(_record(f"place-{index}", name, [(f"<image>\n{first}", answer), *rest]))
        rows.append({"url": f"photos/{name}", "name": name})
        render(scene).save(folder / "photos" / name)
    write_json(folder / "places.json", records)
    write_json_lines(folder / "urls.jsonl", rows)


def build_pope(folder: Path, num_images: int = NUM_POPE_IMAGES) -> None:
    """Write the yes/no benchmark in POPE's file format: four questions a picture, half of them yes."""
    folder.mkdir(parents=True)
    askable = (i for i in itertools.count() if 2 <= len(kinds_shown(make_scene("pope", i))) <= len(KINDS) - 2)
    chosen = itertools.islice(askable, num_images)
    scenes = {f"toy_val_{i:012d}.jpg": make_scene("pope", i) for i in chosen}
    rows: list[dict[str, Any]] = []
    for index, (name, scene) in enumerate(scenes.items()):
        rng = random.Random(f"pope/text/{index}")
        for question in pope_questions(scene, rng):
            rows.append({"question_id": len(rows) + 1, "image": name, "text": question.text, "label": question.answer})
    write_json_lines(folder / "toy_pope.json", rows)
    write_archive(folder / "images.zip", ((name, jpeg(scene)) for name, scene in scenes.items()))


def pope_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """Ask for two kinds that are there and two that are not, in turn; the scene must allow it."""
    found: dict[bool, dict[str, Question]] = {True: {}, False: {}}
    for present, questions in found.items():
        while len(questions) < 2:
            question = existence(scene, present, rng)
            questions[question.text] = question
    return [question for pair in zip(found[True].values(), found[False].values(), strict=True) for question in pair]


def build_vqa(folder: Path, num_images: int = NUM_VQA_IMAGES) -> None:
    """Write the open benchmark in TextVQA's file format: ten people's answers a question, kinds in equal numbers."""
    folder.mkdir(parents=True)
    scenes = {f"{i:016x}": make_scene("vqa", i, min_shapes=2, printed=i % 7 < 3) for i in range(num_images)}
    data: list[dict[str, Any]] = []
    for index, (image_id, scene) in enumerate(scenes.items()):
        rng = random.Random(f"vqa/text/{index}")
        for question in vqa_questions(scene, index, rng):
            entry = {
                "question": question.text,
                "image_id": image_id,
                "image_classes": [shape.name.capitalize() for shape in scene.shapes],
                "image_width": IMAGE_SIZE,
                "image_height": IMAGE_SIZE,
                "answers": human_answers(question.answer, rng),
                "question_tokens": question.text.lower().rstrip("?").split(),
                "question_id": 34602 + len(data),
                "set_name": "val",
            }
            data.append(entry)
    head = {"dataset_type": "val", "dataset_name": "toyvqa", "dataset_version": "0.1"}
    write_json(folder / "toy_vqa_val.json", {**head, "data": data})
    write_archive(folder / "images.zip", ((f"{name}.jpg", jpeg(scene)) for name, scene in scenes.items()))


def vqa_questions(scene: Scene, index: int, rng: random.Random) -> list[Question]:
    """Ask three questions of three kinds; over seven pictures each kind comes up three times."""
    others = OPEN_KINDS[:-1]
    printed = index % 7
    kinds: tuple[str, ...]
    if printed < 3:
        kinds = ("reading", others[2 * printed], others[2 * printed + 1])
    else:
        kinds = tuple(others[(3 * (printed - 3) + k) % 6] for k in range(3))
    return ask_many(scene, kinds, rng)


def _shard_name(index: int) -> str:
    return f"{index // 1000:05d}/{index:09d}.jpg"


def _record(record_id: str, image: str | None, turns: Iterable[tuple[str, str]]) -> dict[str, Any]:
    said = [{"from": who, "value": text} for turn in turns for who, text in zip(("human", "gpt"), turn, strict=True)]
    return {"id": record_id, **({"image": image} if image else {"model": ""}), "conversations": said}
