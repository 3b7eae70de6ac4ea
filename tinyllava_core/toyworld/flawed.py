"""A source of the toy world with planted faults, the pictures of each in a folder of its own: what a filter finds can be counted.

One question or one caption a record. Written beside the others by build.py; nothing but the component `sound` is right throughout.
"""

from __future__ import annotations

import io
import itertools
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageEnhance

from tinyllava_core.toyworld.files import jpeg, write_archive, write_json
from tinyllava_core.toyworld.scene import IMAGE_SIZE, Scene, make_scene, render
from tinyllava_core.toyworld.text import ASKING, SHORT_ANSWER, Question, ask, caption

EACH = 160  # records of each kind of question, and captions, before copies
WRONG_LABELS = 24  # of each kind of question: another answer to that kind
OTHER_CAPTIONS = 48  # captions of another picture
COPIES = 80  # exact ones, and as many whose picture was changed a little

_CAPTION = Question(kind="caption", text="Describe the image briefly.", answer="")
_OPPOSITE = {"yes": "no", "left": "right", "above": "below", "large": "small"}


@dataclass(slots=True, kw_only=True)
class _Made:
    fault: str  # the component; "sound": none
    scene: Scene
    question: Question
    said: str


def build_flawed(folder: Path, each: int = EACH) -> None:
    """Write the source: `each` records of every kind of question and as many captions, faults among them, and copies behind them."""
    folder.mkdir(parents=True)
    made = [_make(kind, index) for index in range(each) for kind in (*ASKING, _CAPTION.kind)]
    _plant(made, each)
    sound = [one for one in made if one.fault == "sound" and one.question is not _CAPTION]
    copied = random.Random("flawed/copies").sample(sound, 2 * COPIES * each // EACH)
    changes = itertools.cycle((_pressed, _lit, _cut))
    rows = [(one.fault, one, jpeg(one.scene)) for one in made]
    rows += [("exact-copy", one, jpeg(one.scene)) for one in copied[::2]]
    rows += [("near-copy", one, change(one.scene)) for one, change in zip(copied[1::2], changes, strict=False)]
    records, pictures = [], []
    for index, (fault, one, picture) in enumerate(rows):
        name = f"{fault}/{index:06d}.jpg"
        text = one.question.text + ("" if one.question is _CAPTION else SHORT_ANSWER)
        turns = [{"from": "human", "value": f"<image>\n{text}"}, {"from": "gpt", "value": one.said}]
        records.append({"id": f"{one.question.kind}-{index}", "image": name, "conversations": turns})
        pictures.append((name, picture))
    write_json(folder / "flawed.json", records)
    write_archive(folder / "images.zip", pictures)


def _make(kind: str, index: int) -> _Made:
    scene = make_scene(f"flawed/{kind}", index, min_shapes=2, printed=True if kind == "reading" else None)
    question = ask(scene, kind, random.Random(f"flawed/text/{kind}/{index}")) if kind in ASKING else _CAPTION
    assert question is not None, "with two shapes, or a print where one is asked for, every kind can be asked"
    return _Made(fault="sound", scene=scene, question=question, said=question.answer or caption(scene))


def _plant(made: list[_Made], each: int) -> None:
    """Give some records of each kind an answer that is wrong, or the caption of another picture."""
    for kind in (*ASKING, _CAPTION.kind):
        rng, mine = random.Random(f"flawed/faults/{kind}"), [one for one in made if one.question.kind == kind]
        if kind in ASKING:
            said = sorted({one.said for one in mine})
            for one in rng.sample(mine, WRONG_LABELS * each // EACH):
                one.fault, one.said = "wrong-label", _wrong(one.said, said, rng)
            continue
        chosen = rng.sample(mine, OTHER_CAPTIONS * each // EACH)
        others = [one.said for one in chosen[1:] + chosen[:1]]
        for one, other in zip(chosen, others, strict=True):
            one.fault, one.said = "other-caption", other


def _wrong(answer: str, said: list[str], rng: random.Random) -> str:
    """Give another answer that the question leaves open."""
    for one, other in _OPPOSITE.items():
        if answer in (one, other):
            return other if answer == one else one
    return rng.choice([other for other in said if other != answer])


def _saved(picture: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _pressed(scene: Scene) -> bytes:
    return _saved(render(scene), quality=40)


def _lit(scene: Scene) -> bytes:
    return _saved(ImageEnhance.Brightness(render(scene)).enhance(0.85))


def _cut(scene: Scene) -> bytes:
    side = IMAGE_SIZE - 2
    return _saved(render(scene).crop((2, 2, side, side)).resize((IMAGE_SIZE, IMAGE_SIZE)))
