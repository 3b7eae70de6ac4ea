"""A language model's tokenizer: its folder's files, and the ids that prompts and models need. No torch, no transformers.

It belongs to neither half's `data` nor `model`: both read the same ids from here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer as RustTokenizer

from tinyllava_core.errors import BadInput

IMAGE_TOKEN = "<image>"
FIRST_TOKEN = (
    "first_token"  # key of tokenizer_config.json: the token that begins a text, where tokenizer.json adds none itself
)
IGNORE = -100  # label of a token that is not supervised; the field's convention
Place = Literal[
    "start", "behind_token", "inside"
]  # of a text: at the very start, behind a special token, behind other text


class Tokenizer:
    """A tokenizer folder (tokenizer.json, tokenizer_config.json), with the ids that a prompt needs."""

    def __init__(self, folder: Path, marks: Sequence[str] = ()) -> None:
        if not (folder / "tokenizer.json").is_file():
            raise BadInput(f"{folder}: no tokenizer.json; a language model needs its fast tokenizer's file here")
        self.folder = folder
        self._rust = RustTokenizer.from_file(str(folder / "tokenizer.json"))
        if self._rust.token_to_id(IMAGE_TOKEN) is None:
            self._rust.add_special_tokens([IMAGE_TOKEN])
        if marks:
            self._rust.add_special_tokens(list(marks))
        config = _read_json(folder / "tokenizer_config.json")
        eos = _token(config, "eos_token")
        if eos is None:
            raise BadInput(f"{folder / 'tokenizer_config.json'}: no eos_token; an answer needs a token that ends it")
        if self._rust.token_to_id(eos) is not None:  # some files list it as an ordinary token, which a text could hold
            self._rust.add_special_tokens([eos])
        self._bare, self._prefix = _without_prefix(self._rust)
        for rust in (self._rust, self._bare):
            rust.no_padding()
            rust.no_truncation()
            rust.encode_special_tokens = True  # "</s>" inside a text is text
        self._protected: set[str] = {IMAGE_TOKEN, eos, *marks}
        self.image_id = self._id(IMAGE_TOKEN)
        self.eos_id = self._id(eos)
        generation = _read_json(folder / "generation_config.json").get("eos_token_id", [])
        listed = generation if isinstance(generation, list) else [generation]
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys([self.eos_id, *listed]))
        pad = _token(config, "pad_token")
        self.pad_id = self._id(pad) if pad is not None else self.eos_id
        first = _token(config, FIRST_TOKEN)
        self.bos_id = self._own_first_token() if first is None else self._id(first)
        space = self._bare.encode(
            " ", add_special_tokens=False
        ).ids  # not in a batch: that starts threads, before a fork
        self.space_id: int | None = space[0] if len(space) == 1 else None  # a space that no word took in
        self.size = self._rust.get_vocab_size(with_added_tokens=True)

    def protect(self, markers: Sequence[str]) -> None:
        """Never read these tokens from a text again: some files list them as ordinary ones, which a text could hold."""
        for marker in [marker for marker in markers if marker not in self._protected]:
            self._protected.add(marker)
            if self.token_id(marker) is not None:
                for rust in (self._rust, self._bare):
                    rust.add_special_tokens([marker])

    def encode(self, text: str) -> list[int]:
        """Tokenize one text: no special token is added, and none is read from the text."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str], places: Sequence[Place] | None = None) -> list[list[int]]:
        """Tokenize texts, in parallel. A special token's string inside a text is text, not the token.

        `places`: where each text stands; without, at the start. SentencePiece begins a text with a space of its own, which
        has no place in the middle of a sentence, and behind a special token in its older files alone.
        """
        if self._prefix == "never" or places is None:
            return self._ids(self._rust, texts)
        bare = [place == "inside" or (place == "behind_token" and self._prefix == "first") for place in places]
        found = {
            flag: iter(self._ids(rust, [text for text, other in zip(texts, bare, strict=True) if other is flag]))
            for flag, rust in ((False, self._rust), (True, self._bare))
        }
        return [next(found[flag]) for flag in bare]

    def token_id(self, token: str) -> int | None:
        """Give the id of a token; None if there is no such token."""
        found = self._rust.token_to_id(token)
        return None if found is None else int(found)

    def token(self, token_id: int) -> str:
        """Give the text of a token, as the tokenizer's files have it."""
        return str(self._rust.id_to_token(token_id))

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Turn ids into text; special tokens are dropped unless they are asked for."""
        return str(self._rust.decode(list(ids), skip_special_tokens=not keep_special))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json with the image token in it."""
        self._rust.save(str(folder / "tokenizer.json"))

    @staticmethod
    def _ids(rust: RustTokenizer, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in rust.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _own_first_token(self) -> int | None:
        """Give the token that the tokenizer itself puts in front of a text, if it does."""
        encoding = self._rust.encode("a")
        return int(encoding.ids[0]) if encoding.special_tokens_mask[0] else None

    def _id(self, token: str) -> int:
        found = self.token_id(token)
        if found is None:
            raise BadInput(f"{self.folder}: the tokenizer has no token {token!r}, which its configuration names")
        return found


def load_tokenizer(folder: Path, marks: Sequence[str] = ()) -> Tokenizer:
    """Load the tokenizer of a language model's or a checkpoint's folder. `marks`: tokens that it is to have besides its own."""
    return Tokenizer(folder, marks)


def _without_prefix(rust: RustTokenizer) -> tuple[RustTokenizer, str]:
    """Give the same tokenizer without the space that it begins a text with, and where it does so: always, first or never.

    always: at the start and behind every special token (Llama's older files). first: at the very start alone.
    """
    data = json.loads(rust.to_str())
    found: list[str] = []
    data["normalizer"] = _plain(data.get("normalizer"), found)
    data["pre_tokenizer"] = _plain(data.get("pre_tokenizer"), found)
    if not found:
        return rust, "never"
    return RustTokenizer.from_str(json.dumps(data)), "always" if "always" in found else "first"


def _plain(step: dict[str, Any] | None, found: list[str]) -> dict[str, Any] | None:
    """Take the prefix out of one step of a tokenizer's file, and note in `found` how it was added."""
    if step is None:
        return None
    kind = step["type"]
    if kind == "Prepend":
        found.append("always")
        return None
    if kind == "Metaspace" and step.get("prepend_scheme", "always") != "never":
        found.append(step.get("prepend_scheme", "always"))
        return {**step, "prepend_scheme": "never"}
    if kind == "ByteLevel" and step.get("add_prefix_space"):
        found.append("always")
        return {**step, "add_prefix_space": False}
    for inner in ("normalizers", "pretokenizers"):
        if inner in step:
            kept = [_plain(part, found) for part in step[inner]]
            return {**step, inner: [part for part in kept if part is not None]}
    return step


def _read_json(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _token(config: dict[str, object], key: str) -> str | None:
    value = config.get(key)
    if isinstance(value, dict):
        value = value.get("content")
    return str(value) if value is not None else None
