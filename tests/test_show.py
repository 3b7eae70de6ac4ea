"""`tinyllava show` and the preview's tokens: what the model reads of a record, which tokens are learned, what is cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planned import SETTINGS, plan_toy

from tinyllava_core import cli
from tinyllava_core.data.plan.reading import Reader, texts
from tinyllava_core.data.record.record import Turn
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load
from tinyllava_core.tokenizer import load_tokenizer


def turns(*texts: str) -> list[Turn]:
    return [Turn(role="user" if n % 2 == 0 else "assistant", text=text) for n, text in enumerate(texts)]


def test_a_record_is_read_in_pieces_of_one_kind_and_only_answers_with_their_end_are_learned() -> None:
    reading = Reader(load("toy"), "sft").read(turns("<image>\nIs it?", "yes", "And red?", "no"))
    assert [(piece.kind, "".join(piece.tokens)) for piece in reading.pieces] == [
        ("read", "<s>USER: "),
        ("image", "<image>" * 36),
        ("read", "\nIs it? ASSISTANT:"),
        ("learned", " yes</s>"),
        ("read", "USER: And red? ASSISTANT:"),
        ("learned", " no</s>"),
    ]
    assert (reading.count("image"), reading.count("learned"), reading.fault) == (36, 4, None)


def test_what_does_not_fit_is_shown_as_cut_off_and_a_cut_image_is_a_fault() -> None:
    recipe = load("toy", {"sft.max_length": 50})
    cut = Reader(recipe, "sft").read(turns("<image>\nIs it?", "yes", "And is it red or blue or green or white?", "no"))
    assert cut.count("read", "image", "learned") == 50
    assert cut.pieces[-1].kind == "cut off"
    assert cut.fault is None
    assert Reader(load("toy", {"sft.max_length": 20}), "sft").read(turns("<image>\nIs it?", "yes")).fault == "image_cut"


def test_a_picture_that_is_cut_has_the_tokens_and_marks_of_its_tiles() -> None:
    """A poster of 216 x 216 pixels in tiles of 72: nine and the whole one, 36 tokens each, ten marks."""
    tiles = {"model.image_mode": "tiles", "model.tiling": {"long_side": 216, "upscale": False}, "sft.max_length": 640}
    reading = Reader(load("toy", tiles), "sft").read(turns("<image>\nIs it?", "yes"), [(216, 216)])
    assert reading.count("image") == 360
    assert reading.fault is None
    assert Reader(load("toy", tiles), "sft").read(turns("<image>\nIs it?", "yes"), []).fault == "image_places_mismatch"


def test_a_caption_is_read_without_the_words_of_its_question() -> None:
    reading = Reader(load("toy"), "pretrain").read(turns("<image>\nDescribe it.", "A red ring."))
    assert [piece.kind for piece in reading.pieces] == ["read", "image", "learned"]
    assert "".join(reading.pieces[-1].tokens) == "A red ring.\n"


@pytest.mark.parametrize("text", ["Größe 3,5 kg", "日本語 und 🦙🦙", "a " * 200, "tab\tand\nline"])
def test_the_texts_of_the_tokens_together_are_the_text(text: str) -> None:
    folder = Reader(load("toy"), "sft")._tokenizer.folder
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(text)
    found = texts(tokenizer, ids)
    assert len(found) == len(ids)
    assert "".join(found) == tokenizer.decode(ids, keep_special=True)


def test_a_planned_record_is_shown_by_its_number_or_its_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan_toy(tmp_path)
    words = ("show", "toy", "--set", *SETTINGS, "--workspace", str(tmp_path))
    assert cli.main([*words, "--record", "2"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert ", step 0, pack " in told[0]
    assert told[0].endswith(" of 6 records")
    assert told[1].endswith("tokens, 36 of images, 2 learned")
    name = told[0].split()[2]
    assert cli.main([*words, "--record", name]) == 0
    assert capsys.readouterr().out.splitlines() == told
    assert cli.main([*words, "--record", name, "--json"]) == 0
    assert [row[""] for row in json.loads(capsys.readouterr().out)] == ["read", "image", "read", "learned"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--record", "6"), "--record 6: this plan has 6 records, 0 to 5; expected one of them, or an id such as "),
        (("--record", "cat"), "--record cat: this plan has 6 records"),
        (("--stage", "pretrain"), "no plan for stage 'pretrain' of toy with these settings; make one without a GPU: "),
        (("--stage", "fsdp"), "recipe 'toy' has no stage 'fsdp'; it has pretrain, sft"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], told: str
) -> None:
    plan_toy(tmp_path)
    assert cli.main(["show", "toy", "--set", *SETTINGS, "--workspace", str(tmp_path), *more]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_a_recipe_that_trains_nothing_reads_nothing() -> None:
    with pytest.raises(BadInput, match="has no stage 'sft'"):
        Reader(load("toy", {"pretrain": None, "sft": None, "start": "latest"}), "sft")
