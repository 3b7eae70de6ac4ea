"""Batched greedy answers against a loop that knows no batch, no cache and no padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.tensors import example
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import ANY_SIZE, Answerer, Asked, pick_device
from tinyllava_core.evaluate.answer.answer_all import answer_all
from tinyllava_core.evaluate.answer.features import Features
from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.job import Progress
from tinyllava_core.settings.condition import condition

TEXTS = [
    "is there a red square?",
    "what is written on the sign in the picture?",
    "yes or no",
    "is a b c d e f g",
    "no",
    "exit?",
]
WITHOUT_PICTURE = (2, 4)
MAX_NEW_TOKENS = 12


@pytest.fixture(scope="module")
def answerer(checkpoint_folder: Path) -> Answerer:
    return Answerer(checkpoint_folder)


@pytest.fixture(scope="module")
def asked(answerer: Answerer, images: Path) -> list[Asked]:
    found = []
    for place, text in enumerate(TEXTS):
        has_image = place not in WITHOUT_PICTURE
        pictures = (answerer.picture(images / f"{place}.png"),) if has_image else ()
        found.append(Asked(ids=answerer.ids(text, sizes=[one.size for one in pictures]), pictures=pictures))
    return found


def by_hand(answerer: Answerer, one: Asked) -> str:
    """Take the likeliest token again and again, the whole sequence computed anew each time."""
    ids = list(one.ids)
    pictures = {}
    if one.pictures:
        pictures["pixel_values"] = example.normalise(
            torch.cat([picture.tiles_N3HW for picture in one.pictures]), answerer.loaded.vision
        )
    with torch.inference_mode():
        for _ in range(MAX_NEW_TOKENS):
            logits = answerer.loaded.model(input_ids=torch.tensor([ids]), use_cache=False, **pictures).logits[0, -1]
            logits[answerer.tokenizer.image_id] = -torch.inf
            ids.append(int(logits.argmax()))
            if ids[-1] in answerer.tokenizer.eos_ids:
                break
    return answerer.tokenizer.decode(ids[len(one.ids) :]).strip()


def test_each_answer_of_a_batch_is_what_it_would_be_alone(answerer: Answerer, asked: list[Asked]) -> None:
    together = answerer.answer(asked, MAX_NEW_TOKENS)
    assert len({len(one.ids) for one in asked}) > 3  # so there was padding
    assert together == [answerer.answer([one], MAX_NEW_TOKENS)[0] for one in asked]
    assert together == [by_hand(answerer, one) for one in asked]
    assert len(set(together)) == len(asked)


def test_a_batch_without_any_picture_is_answered(answerer: Answerer, asked: list[Asked]) -> None:
    alone = [asked[place] for place in WITHOUT_PICTURE]
    assert answerer.answer(alone, MAX_NEW_TOKENS) == [by_hand(answerer, one) for one in alone]


def test_the_picture_matters_and_a_blank_one_takes_as_many_tokens(
    answerer: Answerer, asked: list[Asked], images: Path
) -> None:
    seen, other, blank = answerer.picture(images / "0.png"), answerer.picture(images / "1.png"), answerer.blank()
    assert blank.tiles_N3HW.shape == seen.tiles_N3HW.shape
    assert blank.tiles_N3HW.unique().tolist() == [127]  # int(255 * .5)
    said = answerer.answer([Asked(ids=asked[0].ids, pictures=(one,)) for one in (seen, other, blank)], MAX_NEW_TOKENS)
    assert len(set(said)) == 3


def test_the_image_token_is_never_said(answerer: Answerer, asked: list[Asked]) -> None:
    head = answerer.loaded.model.lm_head
    bias = torch.zeros(head.out_features)
    bias[answerer.tokenizer.image_id] = 1e6  # it would always win
    hook = head.register_forward_hook(lambda module, inputs, logits: logits + bias)
    said = answerer.answer(asked[:1], MAX_NEW_TOKENS)[0]
    hook.remove()
    assert said == answerer.answer(asked[:1], MAX_NEW_TOKENS)[0] != ""


def test_an_end_token_ends_one_answer_and_not_its_neighbours(
    answerer: Answerer, asked: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = answerer.answer(asked, MAX_NEW_TOKENS)
    with torch.inference_mode():
        logits = answerer.loaded.model(input_ids=torch.tensor([asked[4].ids])).logits[0, -1]
    first = int(logits.argmax())  # what the fifth answer begins with: now it ends answers
    both = (answerer.tokenizer.eos_id, first)
    monkeypatch.setattr(answerer.loaded.model.generation_config, "eos_token_id", list(both))
    monkeypatch.setattr(answerer.tokenizer, "eos_ids", both)
    cut = answerer.answer(asked, MAX_NEW_TOKENS)
    assert cut[4] == ""
    half = "\N{REPLACEMENT CHARACTER}"  # an answer may now end in the middle of a character
    assert all(long.startswith(short.rstrip(half)) for long, short in zip(whole, cut, strict=True))
    assert whole[4] != ""
    assert any(cut)


def test_what_the_checkpoint_says_about_generation_does_not_count(
    answerer: Answerer, asked: list[Asked], checkpoint_folder: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint_folder, folder)
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text()) | {"repetition_penalty": 5.0, "do_sample": True, "max_new_tokens": 1}
    path.write_text(json.dumps(settings))
    assert Answerer(folder).answer(asked, MAX_NEW_TOKENS) == answerer.answer(asked, MAX_NEW_TOKENS)


def questions(places: Sequence[int]) -> list[Question]:
    return [
        Question(
            question_id=place,
            image=None if place in WITHOUT_PICTURE else f"{place}.png",
            text=TEXTS[place],
            gold=("yes",),
        )
        for place in places
    ]


def run(
    answerer: Answerer, journal: Journal, images: Path, *, word: str = "seen", batch_size: int = 4
) -> list[Progress]:
    told: list[Progress] = []
    answer_all(
        answerer,
        journal,
        ImagePlaces.one(images),
        condition=condition(word),
        batch_size=batch_size,
        max_new_tokens=MAX_NEW_TOKENS,
        on_progress=told.append,
    )
    return told


def test_all_questions_are_answered_and_progress_is_told(
    answerer: Answerer, asked: list[Asked], images: Path, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "answers.jsonl", questions(range(6)), "model")
    told = run(answerer, journal, images)
    assert journal.texts == dict(enumerate(by_hand(answerer, one) for one in asked))
    assert [(one.done, one.total, one.unit) for one in told] == [(4, 6, "questions"), (6, 6, "questions")]


def test_the_batch_size_changes_no_answer(answerer: Answerer, images: Path, tmp_path: Path) -> None:
    found = []
    for batch_size in (1, 5):
        journal = Journal(tmp_path / f"{batch_size}.jsonl", questions(range(6)), "model")
        run(answerer, journal, images, batch_size=batch_size)
        journal.close()
        found.append((tmp_path / f"{batch_size}.jsonl").read_bytes())
    assert found[0] == found[1]


def test_only_what_is_left_is_asked(answerer: Answerer, images: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.jsonl", questions(range(6)), "model")
    journal.add(questions([1, 4]), ["kept", "too"])
    told = run(answerer, journal, images, batch_size=1)
    assert [one.done for one in told] == [3, 4, 5, 6]
    assert (journal.texts[1], journal.texts[4]) == ("kept", "too")


def test_blind_answers_do_not_know_the_picture(answerer: Answerer, tmp_path: Path) -> None:
    same = [Question(question_id=place, image=f"{place}.png", text="is there?", gold=()) for place in range(3)]
    journal = Journal(tmp_path / "answers.jsonl", same, "model")
    run(answerer, journal, tmp_path / "no pictures here", word="blind")
    assert len(set(journal.texts.values())) == 1


def test_a_file_that_is_no_picture_is_said(answerer: Answerer, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("not a picture")
    with pytest.raises(BadInput, match=r"x\.png: cannot be read as a picture"):
        answerer.picture(tmp_path / "x.png")
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8broken")
    with pytest.raises(BadInput, match=r"x\.jpg: cannot be read as a picture"):
        answerer.picture(tmp_path / "x.jpg")
    with pytest.raises(BadInput, match=r"y\.png: no such file"):
        answerer.picture(tmp_path / "y.png")


def test_cuda_where_there_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (pick_device("auto"), pick_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(BadInput, match="torch sees no GPU here"):
        pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_answers_as_the_cpu_does(checkpoint_folder: Path, answerer: Answerer, asked: list[Asked]) -> None:
    assert Answerer(checkpoint_folder, device="cuda").answer(asked, MAX_NEW_TOKENS) == answerer.answer(
        asked, MAX_NEW_TOKENS
    )
    assert len(Answerer(checkpoint_folder, precision="bf16", device="cuda").answer(asked, MAX_NEW_TOKENS)) == len(asked)


@pytest.fixture
def encoded(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many pictures the encoder was given at each of its runs; nothing is remembered from before."""
    runs: list[int] = []

    def watch(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        runs.append(len(inputs[0]))

    monkeypatch.setattr(answerer, "features", Features(answerer._encode))
    hook = answerer.loaded.model.model.vision_tower.register_forward_pre_hook(watch)
    yield runs
    hook.remove()


def six_about_two(word: str = "is it red?") -> list[Question]:
    return [
        Question(question_id=place, image=f"{place % 2}.png", text=f"{word}{' really?' * place}", gold=())
        for place in range(6)
    ]


def test_a_picture_is_encoded_once_however_many_questions_ask_about_it(
    answerer: Answerer, images: Path, tmp_path: Path, encoded: list[int]
) -> None:
    found = []
    for batch_size in (1, 2, 6):
        encoded.clear()
        answerer.features = Features(answerer._encode)
        journal = Journal(tmp_path / f"{batch_size}.jsonl", six_about_two(), "model")
        run(answerer, journal, images, batch_size=batch_size)
        assert sum(encoded) == 2
        found.append(journal.texts)
    alone = [
        by_hand(
            answerer,
            Asked(ids=answerer.ids(one.text, sizes=[ANY_SIZE]), pictures=(answerer.picture(images / str(one.image)),)),
        )
        for one in six_about_two()
    ]
    assert found == [dict(enumerate(alone))] * 3


def test_what_is_remembered_is_bounded_and_changes_no_answer(
    answerer: Answerer, images: Path, tmp_path: Path, encoded: list[int]
) -> None:
    asked = [
        Asked(ids=answerer.ids("is it?", sizes=[ANY_SIZE]), pictures=(answerer.picture(images / name),), names=(name,))
        for name in ("0.png", "1.png", "0.png", "2.png", "0.png")
    ]
    answerer.features = Features(answerer._encode, most_images=1)
    one_by_one = [answerer.answer([one], MAX_NEW_TOKENS)[0] for one in asked]
    assert sum(encoded) == 5  # each drove the one before out
    encoded.clear()
    answerer.features = Features(answerer._encode, most_images=1)
    assert answerer.answer(asked, MAX_NEW_TOKENS) == one_by_one
    assert encoded == [3]  # a batch encodes its pictures once, however few are kept


def test_without_a_name_a_picture_is_not_remembered(answerer: Answerer, asked: list[Asked], encoded: list[int]) -> None:
    answerer.answer(asked[:2], MAX_NEW_TOKENS)
    answerer.answer(asked[:2], MAX_NEW_TOKENS)
    assert encoded == [2, 2]


def test_blanked_pictures_cost_one_run_of_the_encoder(
    answerer: Answerer, images: Path, tmp_path: Path, encoded: list[int]
) -> None:
    run(answerer, Journal(tmp_path / "a.jsonl", six_about_two(), "model"), images, word="blind", batch_size=2)
    assert encoded == [1]


def test_questions_with_none_one_and_several_pictures_are_answered_together(answerer: Answerer, images: Path) -> None:
    seen = [answerer.picture(images / f"{place}.png") for place in range(3)]
    mixed = [
        Asked(ids=answerer.ids("which is it?", sizes=[ANY_SIZE] * number), pictures=tuple(seen[:number]))
        for number in (2, 0, 3, 1)
    ]
    together = answerer.answer(mixed, MAX_NEW_TOKENS)
    assert together == [by_hand(answerer, one) for one in mixed]
    swapped = Asked(ids=mixed[0].ids, pictures=(seen[1], seen[0]))
    assert by_hand(answerer, swapped) == answerer.answer([swapped], MAX_NEW_TOKENS)[0] != together[0]


def test_a_corrupted_picture_gives_other_answers_and_the_same_again(
    answerer: Answerer, images: Path, tmp_path: Path
) -> None:
    said = []
    for place, word in enumerate(("seen", "crop-5", "crop-5")):
        answerer.features = Features(answerer._encode)
        journal = Journal(tmp_path / f"{place}.jsonl", six_about_two(), "model")
        run(answerer, journal, images, word=word)
        said.append(journal.texts)
    assert said[0] != said[1] == said[2]
