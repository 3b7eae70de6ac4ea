"""Ask one question about one picture: `python -m tinyllava_core.evaluate.ask CHECKPOINT IMAGE "question"`.

The answer streams to stdout. It asks what was typed: no benchmark's suffix is added.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer import Answerer, Asked, pick_device
from tinyllava_core.tokenizer import Tokenizer


def main(arguments: Sequence[str]) -> int:
    """Answer on stdout. Exit code 2 and one line on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(prog="python -m tinyllava_core.evaluate.ask", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a checkpoint folder, or the artifact folder of pretrain or sft")
    parser.add_argument("image", type=Path, help="a picture (JPEG, PNG, ...)")
    parser.add_argument("question")
    parser.add_argument(
        "--max-new-tokens", type=int, default=128, metavar="N", help="end the answer there (default: 128)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    given = parser.parse_args(arguments)
    try:
        if given.max_new_tokens < 1:
            raise BadInput(f"--max-new-tokens = {given.max_new_tokens}; expected 1 or more")
        ask(given.checkpoint, given.image, given.question, given.max_new_tokens, given.device, sys.stdout)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def ask(folder: Path, image: Path, question: str, max_new_tokens: int, device: str, out: TextIO) -> str:
    """Write the answer to `out` as it comes, and give it. Raises BadInput for a wrong folder, picture or question."""
    if not question.strip():
        raise BadInput("the question is empty; type one, in quotes")
    if not image.is_file():
        raise BadInput(f"{image}: no such file; expected a picture")
    answerer = Answerer(find_checkpoint(folder), device=pick_device(device))
    asked = Asked(ids=answerer.ids(question, has_image=True), pixels_3HW=answerer.picture(image))
    return answerer.answer([asked], max_new_tokens, Stream(answerer.tokenizer, out))[0]


def find_checkpoint(folder: Path) -> Path:
    """Give the checkpoint in `folder`: itself, or `checkpoint/` in it. Raises BadInput if there is none."""
    found = next((place for place in (folder, folder / "checkpoint") if (place / "config.json").is_file()), None)
    if found is None:
        raise BadInput(
            f"{folder}: no checkpoint there; expected a folder with config.json, or the artifact folder of a trained stage "
            "(<workspace>/artifacts/sft/<fingerprint>)"
        )
    return found


class Stream(BaseStreamer):
    """Write an answer's text token by token; a character of several tokens waits for its last."""

    def __init__(self, tokenizer: Tokenizer, out: TextIO) -> None:
        self._tokenizer, self._out = tokenizer, out
        self._ids: list[int] = []
        self._written = ""
        self._past_prompt = False

    def put(self, value: Tensor) -> None:
        """Take the next token; the first call brings the prompt, which is not repeated."""
        if self._past_prompt:
            self._ids += [token for token in value.flatten().tolist() if token not in self._tokenizer.eos_ids]
            self._write(final=False)
        self._past_prompt = True

    def end(self) -> None:
        """Write what was held back, and end the line."""
        self._write(final=True)
        self._out.write("\n")
        self._out.flush()

    def _write(self, *, final: bool) -> None:
        text = self._tokenizer.decode(self._ids).lstrip()
        text = text.rstrip() if final else text.rstrip("\N{REPLACEMENT CHARACTER}").rstrip()
        if text.startswith(self._written):
            self._out.write(text[len(self._written) :])
            self._out.flush()
            self._written = text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
