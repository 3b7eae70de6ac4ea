"""From a conversation to token ids and labels, segment by segment; and from a question to the ids that ask it.

Every segment of text is tokenized on its own and carries its role with it, so a label is known, never recounted. It
reads `tokenizers` files only: no torch, no transformers, so that the plan and the training see the very same ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinyllava_core.data.record import IMAGE_TAG, Turn
from tinyllava_core.errors import unknown
from tinyllava_core.tokenizer import IGNORE, Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One way to write a conversation down. `None` for `user`: the question's words are left out (captions)."""

    system: str = ""  # once, in front
    user: str | None = None  # in front of every question
    assistant: str = ""  # between question and answer; no trailing space: the answer's first token carries it
    answer: str = " {answer}"
    end: str | None = None  # text that ends an answer; None: the tokenizer's end-of-sequence token


# Source: template/*.py of the reference implementation; the system sentence is Vicuna v1's.
_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
PROMPTS: dict[str, Prompt] = {
    "plain": Prompt(answer="{answer}", end="\n"),  # stage 1 of every recipe: image, caption, newline; no end token
    "vicuna": Prompt(system=_VICUNA_SYSTEM, user="USER: ", assistant=" ASSISTANT:"),
    "short": Prompt(user="USER: ", assistant=" ASSISTANT:"),  # the toy world's: no system sentence
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A conversation as ids [T] and labels [T] (IGNORE where not supervised), images counted as their tokens."""

    ids: list[int]
    labels: list[int]
    image_ends: tuple[int, ...]  # place behind the last token of each image

    @property
    def num_supervised(self) -> int:
        """Tokens that are predicted: what the loss is averaged over."""
        return sum(label != IGNORE for label in self.labels)

    def cut(self, max_length: int) -> Encoded:
        """Cut from the right to at most `max_length` tokens. Images are counted, not protected: see `voided`."""
        ends = tuple(end for end in self.image_ends if end <= max_length)
        return Encoded(ids=self.ids[:max_length], labels=self.labels[:max_length], image_ends=ends)

    def voided(self, max_length: int) -> str | None:
        """Say why this cannot be trained on at `max_length`: 'image_cut', 'nothing_supervised', or None."""
        if self.image_ends and self.image_ends[-1] > max_length:
            return "image_cut"
        return None if any(label != IGNORE for label in self.labels[:max_length]) else "nothing_supervised"


@dataclass(frozen=True, slots=True)
class _Segment:
    """A piece of a conversation: text, or given ids (image tokens, BOS, EOS)."""

    text: str | None
    supervised: bool
    ids: tuple[int, ...] = ()
    is_image: bool = False


def prompt_row(name: str) -> Prompt:
    """Look a prompt format up. Raises BadInput for an unknown one."""
    if name not in PROMPTS:
        raise unknown("prompt format", name, PROMPTS)
    return PROMPTS[name]


def encode(
    conversations: Sequence[Sequence[Turn]], prompt: str, tokenizer: Tokenizer, tokens_per_image: int
) -> list[Encoded]:
    """Encode conversations; all their text segments go through the tokenizer in one parallel call."""
    row = prompt_row(prompt)
    segments = [list(_segments(turns, row, tokenizer, tokens_per_image)) for turns in conversations]
    texts = [segment.text for part in segments for segment in part if segment.text is not None]
    tokens = iter(tokenizer.encode_many(texts))
    return [_join(part, tokens) for part in segments]


def ask(prompt: str, tokenizer: Tokenizer, question: str, num_images: int, tokens_per_image: int) -> list[int]:
    """Give the ids that ask `question` of a trained model, ending where the answer begins -> [T]."""
    row = prompt_row(prompt)
    turns = [Turn(role="user", text=IMAGE_TAG * num_images + question)]
    segments = list(_segments(turns, row, tokenizer, tokens_per_image))
    tokens = iter(tokenizer.encode_many([segment.text for segment in segments if segment.text is not None]))
    return _join(segments, tokens).ids


def _segments(turns: Sequence[Turn], row: Prompt, tokenizer: Tokenizer, tokens_per_image: int) -> Iterator[_Segment]:
    """Cut a conversation into segments, each of one role.

    A turn's image tags come out in front of its text, each followed by a newline, as the reference does for one image.
    """
    if tokenizer.bos_id is not None:
        yield _Segment(None, False, (tokenizer.bos_id,))
    pending = row.system
    image = _Segment(None, False, (tokenizer.image_id,) * tokens_per_image, is_image=True)
    for turn in turns:
        if turn.role == "user":
            num_images = turn.text.count(IMAGE_TAG)
            words = turn.text.replace(IMAGE_TAG, "").strip()
            if row.user is None:
                for _ in range(num_images):
                    yield image
                continue
            pending += row.user
            for _ in range(num_images):
                if pending:
                    yield _Segment(pending, False)
                yield image
                pending = "\n"
            yield _Segment(pending + words + row.assistant, False)
            pending = ""
        else:
            yield _Segment(row.answer.format(answer=turn.text), True)
            yield _Segment(None, True, (tokenizer.eos_id,)) if row.end is None else _Segment(row.end, True)


def _join(segments: Sequence[_Segment], tokens: Iterator[list[int]]) -> Encoded:
    ids: list[int] = []
    labels: list[int] = []
    ends: list[int] = []
    for segment in segments:
        found = next(tokens) if segment.text is not None else segment.ids
        ids.extend(found)
        labels.extend(found if segment.supervised else [IGNORE] * len(found))
        if segment.is_image:
            ends.append(len(ids))
    if labels:
        labels[0] = IGNORE  # nothing stands before it that could predict it
    return Encoded(ids=ids, labels=labels, image_ends=tuple(ends))
