"""What is said about a scene, against scenes laid out by hand."""

from __future__ import annotations

import random

from tinyllava_core.toyworld.scene import IMAGE_SIZE, Print, Scene, Shape, make_scene, render
from tinyllava_core.toyworld.text import SHORT_ANSWER, ask, caption, chat, existence, human_answers, long_caption


def _shape(kind: str, colour: str, row: int, column: int, size: str = "large") -> Shape:
    x, y = 24 * column + 12, 24 * row + 12
    return Shape(kind=kind, colour=colour, size=size, row=row, column=column, x=x, y=y, radius=10, rgb=(214, 40, 40))


SCENE = Scene(
    shapes=(_shape("circle", "red", 0, 0), _shape("square", "blue", 2, 2, "small")),
    printed=Print(text="CAT", row=1, x=12, y=24, ink=0),
    background=230,
)


def _answers(kind: str) -> dict[str, str]:
    found = (ask(SCENE, kind, random.Random(seed)) for seed in range(60))
    return {question.text: question.answer for question in found if question}


def test_a_caption_names_everything_in_reading_order() -> None:
    assert caption(SCENE) == (
        "a large red circle at the top left, the word CAT at the centre, a small blue square at the bottom right."
    )


def test_a_long_caption_counts_places_relates_and_reads() -> None:
    said = long_caption(SCENE, random.Random(0))
    assert said.startswith("there are 2 shapes. ")
    assert said.endswith(" the red circle is above the blue square.")
    for told in ("a large red circle", "a small blue square", "the word CAT is at the centre."):
        assert told in said


def test_relations_are_read_off_the_grid() -> None:
    assert _answers("relation") == {
        "Is the red circle left or right of the blue square?": "left",
        "Is the red circle above or below the blue square?": "above",
        "Is the blue square left or right of the red circle?": "right",
        "Is the blue square above or below the red circle?": "below",
    }


def test_counts_are_of_all_shapes_or_of_one_size() -> None:
    assert _answers("count") == {
        "How many shapes are there?": "2",
        "How many large shapes are there?": "1",
        "How many small shapes are there?": "1",
    }


def test_what_is_printed_is_read_and_nothing_is_read_where_nothing_is() -> None:
    assert _answers("reading") == {"What word is printed?": "CAT"}
    assert ask(Scene(shapes=SCENE.shapes, printed=None, background=0), "reading", random.Random(0)) is None


def test_existence_asks_for_what_is_there_or_for_what_is_not() -> None:
    shown = {"circle", "square", "word"}
    for seed in range(100):
        for present in (True, False):
            question = existence(SCENE, present, random.Random(seed))
            assert question.answer == ("yes" if present else "no")
            assert (question.text.split()[3] in shown) == present


def test_only_the_first_question_says_how_to_answer() -> None:
    turns = chat(SCENE, random.Random(0))
    assert turns[0][0].endswith(SHORT_ANSWER)
    assert not any(SHORT_ANSWER in text for text, _ in turns[1:])


def test_existence_is_asked_before_anything_names_a_shape() -> None:
    for index in range(100):
        asked = [text.startswith("Is there") for text, _ in chat(make_scene("test", index), random.Random(index))]
        assert asked == sorted(asked, reverse=True)


def test_ten_people_answer_and_most_agree() -> None:
    for seed in range(50):
        answers = human_answers("large", random.Random(seed))
        assert len(answers) == 10
        assert answers.count("large") >= 8
        assert set(answers) <= {"large", "big"}


def test_the_same_seed_draws_the_same_picture() -> None:
    first, second = (render(make_scene("test", 5)) for _ in range(2))
    assert first.size == (IMAGE_SIZE, IMAGE_SIZE)
    assert first.tobytes() == second.tobytes() != render(make_scene("other", 5)).tobytes()


def test_a_shape_is_drawn_where_the_scene_says() -> None:
    picture = render(SCENE)
    assert picture.getpixel((12, 12)) == (214, 40, 40)
    assert picture.getpixel((60, 12)) == (230, 230, 230)
