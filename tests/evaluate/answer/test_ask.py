"""One question on the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from tinyllava_core.evaluate.answer import ask
from tinyllava_core.evaluate.answer.answer import ANY_SIZE, Answerer, Asked
from tinyllava_core.evaluate.answer.ask import Stream, main
from tinyllava_core.job import AskJob
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer


def asks(checkpoint: Path, *images: Path, question: str = "what is written?") -> int:
    """Run the process's main as the command starts it."""
    todo = AskJob(checkpoint=checkpoint, images=images, question=question, max_new_tokens=9, device="cpu")
    return main([todo.model_dump_json()])


@pytest.mark.parametrize("artifact", [False, True])
def test_the_answer_is_streamed_to_stdout(
    checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str], artifact: bool
) -> None:
    folder = checkpoint_folder.parent if artifact else checkpoint_folder
    picture = images / "0.png"
    assert asks(folder, picture) == 0
    answerer = Answerer(checkpoint_folder)
    asked = Asked(ids=answerer.ids("what is written?", sizes=[ANY_SIZE]), pictures=(answerer.picture(picture),))
    assert capsys.readouterr().out == answerer.answer([asked], 9)[0] + "\n"


def test_several_pictures_and_none_are_asked_about_as_well(
    checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both pictures count: with them exchanged the loud random model says something else."""
    answerer = Answerer(checkpoint_folder)
    said = []
    for names in (["0.png", "1.png"], ["1.png", "0.png"], []):
        paths = [images / name for name in names]
        assert asks(checkpoint_folder, *paths) == 0
        pictures = tuple(map(answerer.picture, paths))
        asked = Asked(ids=answerer.ids("what is written?", sizes=[ANY_SIZE] * len(paths)), pictures=pictures)
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


@pytest.mark.parametrize(("terminal", "shown"), [(True, "a\n\\x1b]0;b\\x07"), (False, "a\n\x1b]0;b\x07")])
def test_an_answer_steers_no_terminal_and_goes_into_a_pipe_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: str
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    ask._print("a\n\x1b]0;b\x07")
    assert capsys.readouterr().out == shown


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
    picture = images / "0.png"
    (tmp_path / "x.png").write_text("no picture")
    for checkpoint, shown, fault in [
        (tmp_path, picture, "no checkpoint there"),
        (checkpoint_folder, tmp_path / "y.png", "y.png: no such file"),
        (checkpoint_folder, tmp_path / "x.png", "cannot be read as a picture"),
    ]:
        assert asks(checkpoint, shown) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("error: ")
        assert fault in errors
        assert errors.count("\n") == 1
