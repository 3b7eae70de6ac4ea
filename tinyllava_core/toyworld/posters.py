"""Posters of the toy world: nine scenes in one picture of three times the side, and something printed in one of them.

Squashed to the encoder's 72 pixels a letter is four pixels wide and cannot be read; cut into tiles, each scene is seen as it is.
Written as a source and a benchmark beside the others by build.py.
"""

from __future__ import annotations

import io
import random
from pathlib import Path

from PIL import Image

from tinyllava_core.toyworld.files import write_archive, write_docvqa, write_json
from tinyllava_core.toyworld.scene import IMAGE_SIZE, Scene, make_scene, place_name, render
from tinyllava_core.toyworld.text import SHORT_ANSWER, ask

NUM_POSTERS, NUM_ASKED = 2400, 200
SIDE = 3  # scenes on a side


def make_poster(split: str, index: int) -> tuple[list[Scene], int]:
    """Draw the lots for a poster -> its nine scenes in reading order, and which of them has the print."""
    which = random.Random(f"{split}/poster/{index}").randrange(SIDE**2)
    scenes = [make_scene(f"{split}/{place}", index, max_shapes=2, printed=place == which) for place in range(SIDE**2)]
    return scenes, which


def draw(scenes: list[Scene]) -> bytes:
    """Draw a poster as a JPEG file of 216 x 216 pixels."""
    picture = Image.new("RGB", (SIDE * IMAGE_SIZE,) * 2)
    for place, scene in enumerate(scenes):
        picture.paste(render(scene), (place % SIDE * IMAGE_SIZE, place // SIDE * IMAGE_SIZE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def build_posters(folder: Path, count: int = NUM_POSTERS) -> None:
    """Write the source: what is printed on a poster, and where, as LLaVA's conversations."""
    folder.mkdir(parents=True)
    records, pictures = [], []
    for index in range(count):
        scenes, which = make_poster("posters", index)
        question = ask(scenes[which], "reading", random.Random(f"posters/text/{index}"))
        assert question is not None, "one scene was asked to have something printed"
        name = f"posters/{index:06d}.jpg"
        turns = [
            {"from": "human", "value": f"<image>\n{question.text}{SHORT_ANSWER}"},
            {"from": "gpt", "value": question.answer},
            {"from": "human", "value": "Where is it?"},
            {"from": "gpt", "value": place_name(which // SIDE, which % SIDE)},
        ]
        records.append({"id": f"poster-{index}", "image": name, "conversations": turns})
        pictures.append((name, draw(scenes)))
    write_json(folder / "posters.json", records)
    write_archive(folder / "images.zip", pictures)


def build_asked(folder: Path, count: int = NUM_ASKED) -> None:
    """Write the benchmark: what is printed on other posters, in DocVQA's file format."""
    folder.mkdir(parents=True)
    asked = []
    for index in range(count):
        scenes, which = make_poster("asked-posters", index)
        question = ask(scenes[which], "reading", random.Random(f"asked-posters/text/{index}"))
        assert question is not None, "one scene was asked to have something printed"
        asked.append((question.text, question.answer, f"documents/poster_{index}.jpg", draw(scenes)))
    write_docvqa(folder, "toy_posters_val.json", "toyposters", 1000, asked)
