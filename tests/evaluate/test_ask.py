"""One question on the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from tinyllava_core.evaluate.answer import Answerer, Asked
from tinyllava_core.evaluate.ask import Stream, main
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer


@pytest.mark.parametrize("artifact", [False, True])
def test_the_answer_is_streamed_to_stdout(
    checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str], artifact: bool
) -> None:
    folder = checkpoint_folder.parent if artifact else checkpoint_folder
    picture = images / "0.png"
    assert main([str(folder), str(picture), "what is written?", "--max-new-tokens", "9", "--device", "cpu"]) == 0
    answerer = Answerer(checkpoint_folder)
    asked = Asked(ids=answerer.ids("what is written?", num_images=1), pictures=(answerer.picture(picture),))
    assert capsys.readouterr().out == answerer.answer([asked], 9)[0] + "\n"


def test_several_pictures_and_none_are_asked_about_as_well(
    checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both pictures count: with them exchanged the loud random model says something else."""
    answerer = Answerer(checkpoint_folder)
    said = []
    for names in (["0.png", "1.png"], ["1.png", "0.png"], []):
        paths = [images / name for name in names]
        words = [str(checkpoint_folder), *map(str, paths), "what is written?", "--max-new-tokens", "9"]
        assert main([*words, "--device", "cpu"]) == 0
        pictures = tuple(map(answerer.picture, paths))
        asked = Asked(ids=answerer.ids("what is written?", num_images=len(paths)), pictures=pictures)
        said.append(capsys.readouterr().out)
        assert said[-1] == answerer.answer([asked], 9)[0] + "\n"
    assert len(set(said)) == 3


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """Give what was handed on after each token, and at the end."""
    out = io.StringIO()
    writer = Stream(tokenizer, tokenizer.eos_ids, out.write)
    writer.put(torch.tensor([[1, 2, 3]]))  # the prompt
    seen = []
    for token in ids:
        writer.put(torch.tensor([token]))
        seen.append(out.getvalue())
    writer.end()
    return [*seen, out.getvalue()]


def test_words_come_as_they_are_made_and_the_end_token_is_not_written(checkpoint_folder: Path) -> None:
    tokenizer = load_tokenizer(checkpoint_folder)
    ids = [*tokenizer.encode(" yes"), *tokenizer.encode(" no"), tokenizer.eos_id]
    shown = stream(tokenizer, ids)
    assert shown[-1] == "yes no"
    assert shown[0] in ("y", "ye", "yes", "")
    assert shown[-2] == "yes no"


def test_a_character_of_several_tokens_waits_for_its_last(checkpoint_folder: Path) -> None:
    tokenizer = load_tokenizer(checkpoint_folder)
    ids = tokenizer.encode("ü")
    assert len(ids) == 2
    assert stream(tokenizer, ids) == ["", "ü", "ü"]
    assert stream(tokenizer, ids[:1])[-1] == "\N{REPLACEMENT CHARACTER}"  # it ended in the middle: said, not hidden


def test_bad_input_is_one_line_and_exit_code_2(
    checkpoint_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(images / "0.png")
    (tmp_path / "x.png").write_text("no picture")
    for arguments, fault in [
        ([str(tmp_path), picture, "what?"], "no checkpoint there"),
        ([str(checkpoint_folder), str(tmp_path / "y.png"), "what?"], "y.png: no such file"),
        ([str(checkpoint_folder), str(tmp_path / "x.png"), "what?"], "cannot be read as a picture"),
        ([str(checkpoint_folder), picture, " "], "the question is empty"),
        ([str(checkpoint_folder), picture, "what?", "--max-new-tokens", "0"], "expected 1 or more"),
    ]:
        assert main(arguments) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("error: ")
        assert fault in errors
        assert errors.count("\n") == 1
