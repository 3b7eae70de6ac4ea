"""What is said about a scene: captions, questions with their answers, the same scene told in words.

It draws nothing and writes no file: scene.py and build.py do.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinyllava_core.toyworld.scene import KINDS, ROWS, Scene, Shape, place_name

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."  # Source: LLaVA-1.5's suffix, exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question about one scene."""

    kind: str  # a key of ASKING
    text: str
    answer: str


def caption(scene: Scene) -> str:
    """Describe a scene in one sentence, in reading order."""
    things = [f"a {shape.size} {shape.name} at the {shape.place}" for shape in scene.shapes]
    rows = [shape.row for shape in scene.shapes]
    if scene.printed:
        kind = "number" if scene.printed.is_number else "word"
        place = sum(row < scene.printed.row for row in rows)
        things.insert(place, f"the {kind} {scene.printed.text} at the {ROWS[scene.printed.row]}")
    return f"{', '.join(things)}."


def long_caption(scene: Scene, rng: random.Random) -> str:
    """Describe a scene in several sentences: how many shapes, each in its place, how two pairs of them lie, what is printed."""
    count = "is 1 shape" if len(scene.shapes) == 1 else f"are {len(scene.shapes)} shapes"
    relations = [f"the {a.name} is {_lies(a, b)} the {b.name}." for a, b in itertools.pairwise(scene.shapes)]
    return " ".join([f"there {count}.", _as_sentences(scene, rng), *relations[:2]])


def _lies(a: Shape, b: Shape) -> str:
    """Say how `a` lies to `b`, which comes later in reading order."""
    if a.row == b.row:
        return "left of"
    return "above"


def ask(scene: Scene, kind: str, rng: random.Random) -> Question | None:
    """Ask one question of a kind; None if this scene has no clear answer to one."""
    return ASKING[kind](scene, rng)


def ask_many(scene: Scene, kinds: Sequence[str], rng: random.Random) -> list[Question]:
    """Ask one question of each kind that the scene can answer, each text once, in the order of `kinds`."""
    asked: dict[str, Question] = {}
    for kind in kinds:
        question = ask(scene, kind, rng)
        if question and question.text not in asked:
            asked[question.text] = question
    return list(asked.values())


def chat(scene: Scene, rng: random.Random, kinds: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Hold a conversation about a scene -> question and answer, several times.

    Only the first question says how to answer, as in LLaVA's multi-turn records. Questions of existence come first or
    not at all: behind one that names a shape, they would answer themselves.
    """
    others = list(kinds or OPEN_KINDS)
    rng.shuffle(others)
    first = ["existence"] * rng.choice((0, 2, 3))
    questions = ask_many(scene, [*first, *others[: 6 - len(first)]], rng)
    return [(q.text + (SHORT_ANSWER if place == 0 else ""), q.answer) for place, q in enumerate(questions)]


def kinds_shown(scene: Scene) -> list[str]:
    """Name the kinds of shapes that a scene shows, each once."""
    return sorted({shape.kind for shape in scene.shapes})


def existence(scene: Scene, present: bool, rng: random.Random) -> Question:
    """Ask whether there is a shape of some kind, as POPE asks for objects. No kind is likelier than another to be there."""
    shown = kinds_shown(scene)
    name = rng.choice(shown if present else [kind for kind in KINDS if kind not in shown])
    return Question(
        kind="existence", text=f"Is there {_article(name)} in the image?", answer="yes" if present else "no"
    )


def human_answers(answer: str, rng: random.Random) -> list[str]:
    """Give ten people's answers: most give `answer`, some say it in their own words or are wrong."""
    own = _OWN_WORDS.get(answer, answer)
    others = rng.choice((0, 0, 0, 1, 1, 2))
    answers = [answer] * (10 - others) + [own] * others
    rng.shuffle(answers)
    return answers


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _colour(scene: Scene, rng: random.Random) -> Question | None:
    shape = rng.choice(scene.shapes)
    if rng.random() < 0.5 or _count(scene, kind=shape.kind) > 1:
        text = f"What colour is the shape at the {shape.place}?"
    else:
        text = f"What colour is the {shape.kind}?"
    return Question(kind="colour", text=text, answer=shape.colour)


def _shape(scene: Scene, rng: random.Random) -> Question | None:
    shape = rng.choice(scene.shapes)
    if rng.random() < 0.5 or _count(scene, colour=shape.colour) > 1:
        text = f"What shape is at the {shape.place}?"
    else:
        text = f"What shape is {shape.colour}?"
    return Question(kind="shape", text=text, answer=shape.kind)


def _size(scene: Scene, rng: random.Random) -> Question | None:
    shape = rng.choice(scene.shapes)
    return Question(kind="size", text=f"Is the {shape.name} large or small?", answer=shape.size)


def _number(scene: Scene, rng: random.Random) -> Question | None:
    size = rng.choice(("", "", "large ", "small "))
    count = sum(size.strip() in ("", shape.size) for shape in scene.shapes)
    return Question(kind="count", text=f"How many {size}shapes are there?", answer=str(count))


def _position(scene: Scene, rng: random.Random) -> Question | None:
    shape = rng.choice(scene.shapes)
    return Question(kind="position", text=f"Where is the {shape.name}?", answer=shape.place)


def _existence(scene: Scene, rng: random.Random) -> Question | None:
    return existence(scene, rng.random() < 0.5, rng)


def _relation(scene: Scene, rng: random.Random) -> Question | None:
    pairs = [(a, b) for a in scene.shapes for b in scene.shapes if a is not b]
    rng.shuffle(pairs)
    for a, b in pairs:
        across, down = a.column - b.column, a.row - b.row
        if across and (not down or rng.random() < 0.5):
            return _side(a, b, "left or right of", "left" if across < 0 else "right")
        if down:
            return _side(a, b, "above or below", "above" if down < 0 else "below")
    return None


def _side(a: Shape, b: Shape, choice: str, answer: str) -> Question:
    return Question(kind="relation", text=f"Is the {a.name} {choice} the {b.name}?", answer=answer)


def _reading(scene: Scene, rng: random.Random) -> Question | None:
    if scene.printed is None:
        return None
    kind = "number" if scene.printed.is_number else "word"
    return Question(kind="reading", text=f"What {kind} is printed?", answer=scene.printed.text)


def _count(scene: Scene, **traits: str) -> int:
    return sum(all(getattr(shape, trait) == value for trait, value in traits.items()) for shape in scene.shapes)


ASKING: dict[str, Callable[[Scene, random.Random], Question | None]] = {
    "colour": _colour,
    "shape": _shape,
    "size": _size,
    "count": _number,
    "position": _position,
    "existence": _existence,
    "relation": _relation,
    "reading": _reading,
}
OPEN_KINDS = tuple(kind for kind in ASKING if kind != "existence")  # answered by a word, not by yes or no
_OWN_WORDS = {
    "large": "big", "small": "little", "purple": "violet", "orange": "dark yellow", "circle": "disc", "cross": "plus",
    "0": "none", "1": "one", "2": "two", "3": "three", "4": "four", "top left": "upper left", "top right": "upper right",
    "bottom left": "lower left", "bottom right": "lower right", "centre": "middle", "above": "over", "below": "under",
}  # fmt: skip


def retell(scene: Scene, rng: random.Random) -> str:
    """Tell a scene in words, in one of several ways: what a language model learns to read before it meets a picture."""
    return rng.choice((_as_list, _as_sentences, _as_grid))(scene, rng)


def _as_list(scene: Scene, rng: random.Random) -> str:
    """`large red circle top left; word CAT bottom`: things in any order, words in any order."""
    things = []
    for shape in scene.shapes:
        words = [shape.size, shape.colour, shape.kind, shape.place]
        rng.shuffle(words)
        things.append(" ".join(words))
    if scene.printed:
        kind = "number" if scene.printed.is_number else "word"
        things.append(f"{kind} {scene.printed.text} {ROWS[scene.printed.row]}")
    rng.shuffle(things)
    return rng.choice((" ; ", " . ", " , ")).join(things)


def _as_sentences(scene: Scene, rng: random.Random) -> str:
    """`At the top left there is a large red circle.`: things in any order."""
    things = []
    for shape in scene.shapes:
        what = f"a {shape.size} {shape.name}"
        here = f"at the {shape.place}"
        things.append(rng.choice((f"there is {what} {here}.", f"{here} there is {what}.", f"{what} is {here}.")))
    if scene.printed:
        kind = "number" if scene.printed.is_number else "word"
        things.append(f"the {kind} {scene.printed.text} is at the {ROWS[scene.printed.row]}.")
    rng.shuffle(things)
    return " ".join(things)


def _as_grid(scene: Scene, rng: random.Random) -> str:
    """`top left red circle large | top centre nothing | ..`: cell by cell in reading order, as patches come."""
    cells = []
    for row in range(3):
        for column in range(3):
            place = place_name(row, column)
            words = [word for shape in scene.shapes if shape.place == place for word in _trait_words(shape, rng)]
            if scene.printed and scene.printed.row == row and column == 1:
                words = ["number" if scene.printed.is_number else "word", scene.printed.text]
                place = ROWS[row]
            cells.append(f"{place} {' '.join(words) or 'nothing'}")
    return " | ".join(cells)


def _trait_words(shape: Shape, rng: random.Random) -> list[str]:
    words = [shape.size, shape.colour, shape.kind]
    rng.shuffle(words)
    return words
