"""Ask about pictures, one question or a file of them: the process behind `tinyllava ask`.

One answer streams to stdout. It asks what was typed: no benchmark's suffix is added.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from tinyllava_core.errors import BadInput, visible
from tinyllava_core.evaluate.answer.answer import Answerer, Asked, pick_device
from tinyllava_core.evaluate.answer.ask_many import ask_many, check_out, read_requests
from tinyllava_core.job import AskJob
from tinyllava_core.tokenizer import Tokenizer


def main(arguments: Sequence[str]) -> int:
    """Answer on stdout, or into a file. Exit code 2 and one line on stderr where the input is at fault."""
    try:
        todo = AskJob.parse(json.loads(arguments[0]), "job")
        if todo.batch is None or todo.out is None:
            ask(todo.checkpoint, todo.images, todo.question, todo.max_new_tokens, todo.device)
        else:
            requests = read_requests(todo.batch)  # a fault in the file is told before a model is loaded
            check_out(todo.out, todo.batch, requests)
            answerer = load(todo.checkpoint, todo.device)
            ask_many(answerer, requests, todo.out, todo.batch_size, todo.max_new_tokens)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def ask(folder: Path, images: Sequence[Path], question: str, max_new_tokens: int, device: str) -> str:
    """Write the answer to stdout as it comes, and give it. Raises BadInput for a wrong folder or picture."""
    for image in images:
        if not image.is_file():
            raise BadInput(f"{image}: no such file; expected a picture")
    answerer = load(folder, device)
    pictures = tuple(map(answerer.picture, images))
    asked = Asked(ids=answerer.ids(question, [one.size for one in pictures]), pictures=pictures)
    answer = answerer.answer([asked], max_new_tokens, Stream(answerer.tokenizer, answerer.stop_ids, _print))[0]
    print(flush=True)
    return answer


def load(folder: Path, device: str) -> Answerer:
    """Load a checkpoint to ask it. Raises BadInput if there is none in `folder`."""
    return Answerer(find_checkpoint(folder), device=pick_device(device))


def find_checkpoint(folder: Path) -> Path:
    """Give the checkpoint in `folder`: itself, or `checkpoint/` in it. Raises BadInput if there is none."""
    found = next((place for place in (folder, folder / "checkpoint") if (place / "config.json").is_file()), None)
    if found is None:
        raise BadInput(
            f"{folder}: no checkpoint there; expected a folder with config.json, or the artifact folder of a trained stage "
            "(<workspace>/artifacts/sft/<fingerprint>)"
        )
    return found


def _print(text: str) -> None:
    sys.stdout.write(visible(text, but="\n\t") if sys.stdout.isatty() else text)
    sys.stdout.flush()


class Stream(BaseStreamer):
    """Hand an answer's text on, token by token; a character of several tokens waits for its last."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Sequence[int], write: Callable[[str], None]) -> None:
        self._tokenizer, self._stop_ids, self._write = tokenizer, frozenset(stop_ids), write
        self._ids: list[int] = []
        self._written = ""
        self._past_prompt = False

    def put(self, value: Tensor) -> None:
        """Take the next token; the first call brings the prompt, which is not repeated."""
        if self._past_prompt:
            self._ids += [token for token in value.flatten().tolist() if token not in self._stop_ids]
            self._hand_on(final=False)
        self._past_prompt = True

    def end(self) -> None:
        """Hand on what was held back."""
        self._hand_on(final=True)

    def _hand_on(self, *, final: bool) -> None:
        text = self._tokenizer.decode(self._ids).lstrip()
        text = text.rstrip() if final else text.rstrip("\N{REPLACEMENT CHARACTER}").rstrip()
        if text.startswith(self._written) and text != self._written:
            self._write(text[len(self._written) :])
            self._written = text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
