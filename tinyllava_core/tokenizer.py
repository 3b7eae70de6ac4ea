"""A language model's tokenizer: its folder's files, and the ids that prompts and models need. No torch, no transformers.

It belongs to neither half's `data` nor `model`: both read the same ids from here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer

from tinyllava_core.errors import BadInput

IMAGE_TOKEN = "<image>"

IGNORE = -100  # label of a token that is not supervised; the field's convention


class Tokenizer:
    """A tokenizer folder (tokenizer.json, tokenizer_config.json), with the ids that a prompt needs."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "tokenizer.json").is_file():
            raise BadInput(f"{folder}: no tokenizer.json; a language model needs its fast tokenizer's file here")
        self.folder = folder
        self._rust = RustTokenizer.from_file(str(folder / "tokenizer.json"))
        self._rust.no_padding()
        self._rust.no_truncation()
        self._rust.encode_special_tokens = True  # "</s>" inside a text is text
        if self._rust.token_to_id(IMAGE_TOKEN) is None:
            self._rust.add_special_tokens([IMAGE_TOKEN])
        config = _read_json(folder / "tokenizer_config.json")
        self.image_id = self._id(IMAGE_TOKEN)
        eos = _token(config, "eos_token")
        if eos is None:
            raise BadInput(f"{folder / 'tokenizer_config.json'}: no eos_token; an answer needs a token that ends it")
        self.eos_id = self._id(eos)
        generation = _read_json(folder / "generation_config.json").get("eos_token_id", [])
        listed = generation if isinstance(generation, list) else [generation]
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys([self.eos_id, *listed]))
        pad = _token(config, "pad_token")
        self.pad_id = self._id(pad) if pad is not None else self.eos_id
        added = self._rust.encode("").ids  # what the tokenizer itself puts in front of a text
        self.bos_id: int | None = added[0] if added and added[0] != self.eos_id else None
        self.size = self._rust.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Tokenize one segment: no special token is added, and none is read from the text."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize segments, in parallel. A special token's string inside a text is text, not the token."""
        return [encoding.ids for encoding in self._rust.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Turn ids into text; special tokens are dropped unless they are asked for."""
        return str(self._rust.decode(list(ids), skip_special_tokens=not keep_special))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json with the image token in it."""
        self._rust.save(str(folder / "tokenizer.json"))

    def _id(self, token: str) -> int:
        found = self._rust.token_to_id(token)
        if found is None:
            raise BadInput(f"{self.folder}: the tokenizer has no token {token!r}, which its configuration names")
        return int(found)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a language model's or a checkpoint's folder."""
    return Tokenizer(folder)


def _read_json(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _token(config: dict[str, object], key: str) -> str | None:
    value = config.get(key)
    if isinstance(value, dict):
        value = value.get("content")
    return str(value) if value is not None else None
