"""From a conversation to token ids and labels, segment by segment; and from a question to the ids that ask it.

Every segment of text is tokenized on its own and carries its role with it, so a label is known, never recounted. It
reads `tokenizers` files only: no torch, no transformers, so that the plan and the training see the very same ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.errors import BadInput
from tinyllava_core.parts.prompts import Prompt, prompt_row
from tinyllava_core.settings.writing import Writing
from tinyllava_core.tokenizer import IGNORE, Place, Tokenizer

# What images become: so many tokens each, or of each conversation the ids of each of its images (data/plan/picture_ids.py).
Images = int | Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A conversation as ids [T] and labels [T] (IGNORE where not supervised), images counted as their tokens."""

    ids: list[int]
    labels: list[int]
    image_ends: tuple[int, ...]  # place behind the last token of each image

    @property
    def num_supervised(self) -> int:
        """Tokens that are predicted: what the loss is averaged over."""
        return len(self.labels) - self.labels.count(IGNORE)

    def cut(self, max_length: int) -> Encoded:
        """Cut from the right to at most `max_length` tokens. Images are counted, not protected: see `voided`."""
        ends = tuple(end for end in self.image_ends if end <= max_length)
        return Encoded(ids=self.ids[:max_length], labels=self.labels[:max_length], image_ends=ends)

    def unlearned(self) -> Encoded:
        """Give the same tokens with nothing supervised."""
        return Encoded(ids=self.ids, labels=[IGNORE] * len(self.ids), image_ends=self.image_ends)

    def voided(self, max_length: int) -> str | None:
        """Say why this cannot be trained on at `max_length`: 'image_cut', 'nothing_supervised', or None."""
        if self.image_ends and self.image_ends[-1] > max_length:
            return "image_cut"
        kept = self.labels[:max_length]
        return None if kept.count(IGNORE) < len(kept) else "nothing_supervised"


@dataclass(frozen=True, slots=True)
class _Segment:
    """A piece of a conversation, all of one role: text, or given ids (image tokens, special tokens)."""

    text: str | None
    supervised: bool = False  # an answer's
    shown: bool = False  # an answer's that is not learned: the same tokens, no labels
    ids: tuple[int, ...] = ()
    is_image: bool = False


def encode(
    conversations: Sequence[Sequence[Turn]],
    prompt: str,
    tokenizer: Tokenizer,
    images: Images,
    writing: Writing | None = None,
) -> list[Encoded]:
    """Encode conversations; all their text segments go through the tokenizer in one parallel call.

    Raises BadInput for an unknown prompt format, and for one whose special tokens the tokenizer does not have.
    """
    row, how = prompt_row(prompt), writing or Writing()
    tokenizer.protect(row.tokens)
    segments = [
        _merged(_segments(turns, row, tokenizer, _ids_of(images, number, tokenizer), how))
        for number, turns in enumerate(conversations)
    ]
    texts = [(segment.text or "", place) for part in segments for segment, place in _placed(part)]
    tokens = iter(tokenizer.encode_many([text for text, _ in texts], [place for _, place in texts]))
    space_id = tokenizer.space_id if how.lone_space == "given" else None
    return [_join(part, tokens, space_id) for part in segments]


def ask(prompt: str, tokenizer: Tokenizer, question: str, num_images: int, tokens_per_image: int) -> list[int]:
    """Give the ids that ask `question` of a trained model, images in front, ending where the answer begins -> [T]."""
    return ask_on(prompt, tokenizer, [Turn(role="user", text=IMAGE_TAG * num_images + question)], tokens_per_image)


def ask_on(
    prompt: str, tokenizer: Tokenizer, turns: Sequence[Turn], images: int | Sequence[Sequence[int]]
) -> list[int]:
    """Give the ids of a conversation whose last turn, the user's, waits for an answer -> [T]. `images`: tokens of each, or ids."""
    assert turns[-1].role == "user", "the last turn is the one to answer"
    return encode([turns], prompt, tokenizer, images if isinstance(images, int) else [images])[0].ids


def stop_ids(prompt: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Give the tokens that end an answer: the tokenizer's own, and the prompt format's where it has one."""
    end = prompt_row(prompt).end
    found = tokenizer.token_id(end) if end is not None else None
    return tokenizer.eos_ids if found is None else tuple(dict.fromkeys([*tokenizer.eos_ids, found]))


def _ids_of(images: Images, number: int, tokenizer: Tokenizer) -> Iterator[Sequence[int]]:
    """Give the ids of a conversation's images, one after the other; () where it has more tags than images."""
    return repeat((tokenizer.image_id,) * images) if isinstance(images, int) else chain(images[number], repeat(()))


def _segments(
    turns: Sequence[Turn], row: Prompt, tokenizer: Tokenizer, images: Iterator[Sequence[int]], how: Writing
) -> Iterator[_Segment]:
    """Cut a conversation into pieces, each of one role."""
    if tokenizer.bos_id is not None:
        yield _Segment(None, ids=(tokenizer.bos_id,))
    system, turns = (turns[0].text, turns[1:]) if turns and turns[0].role == "system" else (None, turns)
    yield from _opening(system, row, tokenizer)
    for turn in turns:
        if turn.role == "user":
            yield from _format(row.user or "", row, tokenizer)
            for number, words in enumerate(_question_pieces(turn.text, row, how)):
                if number:
                    yield _Segment(None, ids=tuple(next(images)), is_image=True)
                yield _Segment(words)
            yield from _format(row.user_end + row.assistant, row, tokenizer)
        else:
            shown = not turn.supervised
            yield _Segment(row.answer.format(answer=turn.text), True, shown)
            if row.end is None:
                yield _Segment(None, True, shown, ids=(tokenizer.eos_id,))
            else:
                yield from _format(row.end, row, tokenizer, supervised=True, shown=shown)
            yield from _format(row.answer_end, row, tokenizer)


def _opening(system: str | None, row: Prompt, tokenizer: Tokenizer) -> Iterator[_Segment]:
    """Write what stands in front of the first turn: the format's own sentence, or the conversation's in its place.

    A conversation's words are plain text, whatever tokens the format has. Captions have no words in front.
    """
    if system is None or row.user is None:
        yield from _format(row.opening, row, tokenizer)
    elif system.strip():
        before, _, behind = row.system_frame.partition("{system}")
        yield from _format(before, row, tokenizer)
        yield _Segment(system.strip())
        yield from _format(behind, row, tokenizer)


def _question_pieces(text: str, row: Prompt, how: Writing) -> list[str]:
    """Cut a user's text at its images: one image stands between each two pieces.

    front: the images, each with a newline, then the words, as the reference does for one image. Captions have no words.
    """
    pieces = text.strip().split(IMAGE_TAG)
    if row.user is None:
        return [""] * len(pieces)
    if how.image_place == "as_written":
        return pieces
    words = "".join(pieces).strip()
    return ["", *["\n"] * (len(pieces) - 2), "\n" + words] if len(pieces) > 1 else [words]


def _format(
    text: str, row: Prompt, tokenizer: Tokenizer, supervised: bool = False, shown: bool = False
) -> Iterator[_Segment]:
    """Cut a text of the prompt format at its special tokens."""
    pattern = "|".join(map(re.escape, row.tokens))
    for piece in re.split(f"({pattern})", text) if row.tokens else [text]:
        if piece not in row.tokens:
            yield _Segment(piece, supervised, shown)
            continue
        found = tokenizer.token_id(piece)
        if found is None:
            raise BadInput(
                f"{tokenizer.folder}: the tokenizer has no token {piece!r}, which the prompt format needs; choose another `prompt`"
            )
        yield _Segment(None, supervised, shown, ids=(found,))


def _merged(segments: Iterator[_Segment]) -> list[_Segment]:
    """Put texts of the same role that follow each other together: a tokenizer reads them as one. Empty ones go."""
    found: list[_Segment] = []
    for segment in segments:
        if segment.text == "":
            continue
        last = found[-1] if found else None
        if last and last.text is not None and segment.text is not None and _role(last) == _role(segment):
            found[-1] = _Segment(last.text + segment.text, *_role(last))
        else:
            found.append(segment)
    return found


def _role(segment: _Segment) -> tuple[bool, bool]:
    return segment.supervised, segment.shown


def _placed(segments: Sequence[_Segment]) -> Iterator[tuple[_Segment, Place]]:
    """Give each text segment with where it stands."""
    before: _Segment | None = None
    for segment in segments:
        if segment.text is not None:
            yield segment, "start" if before is None else "behind_token" if before.text is None else "inside"
        before = segment


def _join(segments: Sequence[_Segment], tokens: Iterator[list[int]], space_id: int | None) -> Encoded:
    """Lay the segments' ids one behind the other. `space_id`: the token that is not learned at the head of an answer."""
    ids: list[int] = []
    labels: list[int] = []
    ends: list[int] = []
    for segment in segments:
        found = next(tokens) if segment.text is not None else segment.ids
        ids.extend(found)
        labels.extend(found if segment.supervised and not segment.shown else [IGNORE] * len(found))
        if segment.text is not None and segment.supervised and found and found[0] == space_id:
            labels[-len(found)] = IGNORE
        if segment.is_image:
            ends.append(len(ids))
    if labels:
        labels[0] = IGNORE  # nothing stands before it that could predict it
    return Encoded(ids=ids, labels=labels, image_ends=tuple(ends))
