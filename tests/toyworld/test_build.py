"""The toy world's files: their shapes, their balance, and that no benchmark picture is trained on."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.scoring import score
from tinyllava_core.toyworld.build import build
from tinyllava_core.toyworld.posters import draw, make_poster
from tinyllava_core.toyworld.scene import place_name, render


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toyworld") / "tree"
    build(root)
    return root


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _pictures(world: Path, source: str) -> set[str]:
    with zipfile.ZipFile(world / source / "images.zip") as archive:
        return {hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_no_benchmark_picture_is_trained_on(world: Path) -> None:
    places = {hashlib.sha256(file.read_bytes()).hexdigest() for file in (world / "places" / "photos").iterdir()}
    trained = _pictures(world, "captions") | _pictures(world, "long-captions") | _pictures(world, "chat") | places
    trained |= _pictures(world, "posters")
    for name in ("pope", "vqa", "choice", "docs", "pairs", "asked-posters"):
        assert not trained & _pictures(world, name)


def test_every_record_names_an_image_of_its_archive(world: Path) -> None:
    for source, file, count in (
        ("captions", "captions.json", 4800),
        ("long-captions", "long-captions.json", 1200),
        ("chat", "chat.json", 4200),
        ("posters", "posters.json", 2400),
    ):
        with zipfile.ZipFile(world / source / "images.zip") as archive:
            names = set(archive.namelist())
        records = _read(world / source / file)
        assert len(records) == count
        assert {record["image"] for record in records if "image" in record} == names


def test_the_image_tag_stands_once_where_there_is_an_image(world: Path) -> None:
    for record in _read(world / "chat" / "chat.json"):
        tags = sum(turn["value"].count("<image>") for turn in record["conversations"])
        assert tags == (1 if "image" in record else 0)


def test_the_url_table_names_every_picture_relatively(world: Path) -> None:
    rows = _lines(world / "places" / "urls.jsonl")
    assert {row["name"] for row in rows} == {record["image"] for record in _read(world / "places" / "places.json")}
    assert all((world / "places" / row["url"]).is_file() for row in rows)


def test_pope_asks_four_questions_a_picture_half_of_them_yes(world: Path) -> None:
    rows = _lines(world / "pope" / "toy_pope.json")
    assert [row["question_id"] for row in rows] == list(range(1, 301))
    assert Counter(row["label"] for row in rows) == {"yes": 150, "no": 150}
    assert set(Counter(row["image"] for row in rows).values()) == {4}


def test_vqa_has_ten_answers_a_question_and_a_clear_majority(world: Path) -> None:
    data = _read(world / "vqa" / "toy_vqa_val.json")["data"]
    assert len({entry["question_id"] for entry in data}) == len(data) == 420
    for entry in data:
        assert len(entry["answers"]) == 10
        assert Counter(entry["answers"]).most_common(1)[0][1] >= 8


def test_the_same_world_is_built_twice(world: Path, tmp_path: Path) -> None:
    build(tmp_path / "again")
    for file in ("chat/chat.json", "chat/images.zip", "vqa/toy_vqa_val.json", "places/urls.jsonl"):
        assert (tmp_path / "again" / file).read_bytes() == (world / file).read_bytes()


def test_the_twins_of_newer_benchmarks_are_balanced(world: Path) -> None:
    choice = _lines(world / "choice" / "toy_mmstar.jsonl")
    assert len(choice) == 120
    assert max(Counter(row["answer"] for row in choice).values()) < 50
    docs = _read(world / "docs" / "toy_docvqa_val.json")["data"]
    assert len({row["questionId"] for row in docs}) == len(docs) == 60
    pairs = _lines(world / "pairs" / "toy_blink_val.jsonl")
    assert {row["answer"] for row in pairs} == {"(A)", "(B)"}
    with zipfile.ZipFile(world / "pairs" / "images.zip") as archive:
        assert {row[column] for row in pairs for column in ("image_1", "image_2")} <= set(archive.namelist())


@pytest.mark.parametrize(
    ("name", "files", "wrong", "chance"),
    [
        ("mmstar", "choice/toy_mmstar.jsonl", lambda question: "B", (12, 42)),  # one letter of four
        ("docvqa", "docs/toy_docvqa_val.json", lambda question: "nothing printed", (0, 0)),
        ("blink", "pairs/toy_blink_val.jsonl", lambda question: "(A)", (25, 75)),  # one side of two
    ],
)
def test_a_twin_gives_an_oracle_all_and_a_guesser_chance(
    world: Path, name: str, files: str, wrong: Callable[[Question], str], chance: tuple[float, float]
) -> None:
    """A small model scores near chance on two of them: what right answers score is shown here."""
    row = benchmark(name)
    questions = row.variant(None).read(Files(annotations=world / files))
    right = {one.question_id: f"({one.gold[0]})" if name == "blink" else one.gold[0] for one in questions}
    assert score(row, None, questions, right).score == 100
    guessed = score(row, None, questions, {one.question_id: wrong(one) for one in questions})
    assert chance[0] <= guessed.score <= chance[1]
    half = {
        one.question_id: text if number % 2 else ""
        for number, (one, text) in enumerate(zip(questions, right.values(), strict=True))
    }
    counted = score(row, None, questions, half)
    assert counted.score == pytest.approx(100 * (len(questions) // 2) / len(questions))
    assert {len(one.pictures) for one in questions} == {2 if name == "blink" else 1}


def test_a_poster_is_nine_scenes_and_the_answers_say_what_is_printed_and_where(world: Path) -> None:
    places = set()
    for index in range(0, 60, 7):
        scenes, which = make_poster("posters", index)
        assert [scene.printed is not None for scene in scenes] == [place == which for place in range(9)]
        said = [turn["value"] for turn in _read(world / "posters" / "posters.json")[index]["conversations"]]
        assert said[1] == scenes[which].printed.text  # type: ignore[union-attr]
        assert said[3] == place_name(which // 3, which % 3)
        places.add(which)
        with Image.open(io.BytesIO(draw(scenes))) as poster:
            tile = poster.crop((which % 3 * 72, which // 3 * 72, which % 3 * 72 + 72, which // 3 * 72 + 72))
            off = np.abs(np.asarray(tile, int) - np.asarray(render(scenes[which]), int))
        assert poster.size == (216, 216)
        assert off.mean() < 4  # JPEG's
    assert len(places) > 3
    asked = _read(world / "asked-posters" / "toy_posters_val.json")["data"]
    assert len({row["questionId"] for row in asked}) == len(asked) == 200
    assert max(Counter(row["answers"][0] for row in asked).values()) < 10
