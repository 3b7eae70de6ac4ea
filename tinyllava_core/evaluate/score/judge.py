"""Ask a judge model behind any OpenAI-compatible endpoint; every reply is kept, so that a killed scoring goes on.

What is asked and how a reply is read is each benchmark's rule. The endpoint, the model and the key come from the
environment; the key is never written anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Question

URL, MODEL, KEY = "TINYLLAVA_JUDGE_URL", "TINYLLAVA_JUDGE_MODEL", "TINYLLAVA_JUDGE_KEY"
ANSWER = "\x00"  # where the model's answer goes in what a judge is told
TIMEOUT_S = 120
TRIES = 6  # of one request; waits of 1, 2, 4, 8, 16 s between them: half a minute of a busy endpoint
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}  # statuses that may pass
_THIS_ALONE = {400, 413, 422}  # of a request that is not to be had: too long, filtered, a picture it cannot read


class Refused(BadInput):
    """The endpoint will not answer this very request: what it says, or its length, is at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the judge said."""

    text: str
    model: str  # as the endpoint names it


def judge_model() -> str | None:
    """Name the judge model that the environment names: another one gives other scores."""
    return os.environ.get(MODEL) or None


class Judge:
    """A judge model, with its replies so far on this disk."""

    def __init__(self, url: str, model: str, key: str | None, cache: Path, *, wait_s: float = 1.0) -> None:
        """Take up the replies that an earlier life left in `cache`."""
        self.model = model
        self._url, self._key, self._cache, self._wait_s = url.rstrip("/"), key, cache, wait_s
        self._replies = _read_cache(cache)
        self._reported: set[str] = set()
        self._writing = threading.Lock()

    @classmethod
    def from_environment(cls, cache: Path) -> Judge:
        """Make the judge that the environment names. Raises BadInput, with the variables, if it names none."""
        missing = [name for name in (URL, MODEL) if not os.environ.get(name)]
        if missing:
            raise BadInput(
                f"this benchmark needs a judge: set {' and '.join(missing)} (an OpenAI-compatible base URL such as "
                f"http://127.0.0.1:8000/v1, and a model it serves), and {KEY} if it wants a key"
            )
        return cls(os.environ[URL], os.environ[MODEL], os.environ.get(KEY), cache)

    def ask(
        self,
        messages: list[dict[str, str]],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        attempt: int = 0,
    ) -> str:
        """Give the judge's reply, from the disk if it was asked the same before. `attempt` tells repeats apart.

        None is not sent: the endpoint's own default. Raises BadInput if the endpoint refuses, or stays unreachable.
        """
        return self.reply(messages, temperature=temperature, max_tokens=max_tokens, attempt=attempt).text

    def reply(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        attempt: int = 0,
    ) -> Reply:
        """Give the reply with the model's own name, as `ask` does. Several threads may ask. Raises Refused for this request alone."""
        request = self._asking(messages, temperature, max_tokens)
        name = _hash([request, attempt])
        if name not in self._replies:
            reply = self._request(request)
            line = {"request_sha256": name, "attempt": attempt, "text": reply.text, "model": reply.model}
            with self._writing:
                self._replies[name] = reply
                with self._cache.open("a", encoding="utf-8", newline="\n") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._reported.add(self._replies[name].model)
        return self._replies[name]

    def has(
        self, messages: Sequence[Mapping[str, Any]], *, temperature: float | None = None, max_tokens: int | None = None
    ) -> bool:
        """Tell whether the reply is on the disk."""
        return _hash([self._asking(messages, temperature, max_tokens), 0]) in self._replies

    def _asking(
        self, messages: Sequence[Mapping[str, Any]], temperature: float | None, max_tokens: int | None
    ) -> dict[str, Any]:
        limits = {"temperature": temperature, "max_tokens": max_tokens}
        request: dict[str, Any] = {"model": self.model, "messages": messages}
        return request | {name: value for name, value in limits.items() if value is not None}

    def identity(self, questions: Sequence[Question]) -> str:
        """Name the judge as a part of the score: model asked for, model reported, hash of its prompts but for the answers.

        Two models' scores with equal identities were judged alike.
        """
        reported = ",".join(sorted(self._reported)) or "nothing"
        prompts = _hash([question.context for question in questions])
        return f"{self.model} (reported {reported}), prompts {prompts[:16]}"

    def _request(self, request: dict[str, Any]) -> Reply:
        import requests

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        fault = ""
        for again in range(TRIES):
            if again:
                time.sleep(self._wait_s * 2 ** (again - 1))
            try:
                answer = requests.post(
                    f"{self._url}/chat/completions", json=request, headers=headers, timeout=TIMEOUT_S
                )
            except requests.RequestException as error:
                fault = type(error).__name__
                continue
            if answer.status_code in _AGAIN:
                fault = f"status {answer.status_code}"
                continue
            if answer.status_code != 200:
                kind = Refused if answer.status_code in _THIS_ALONE else BadInput
                raise kind(
                    f"judge {self.model} at {self._url}: status {answer.status_code}: {_short(answer.text)}; "
                    f"check {URL}, {MODEL} and {KEY}"
                )
            return _reply(answer, self._url)
        raise BadInput(
            f"judge {self.model} at {self._url}: {fault}, {TRIES} times; the replies so far are kept in {self._cache}: "
            "the same command goes on from there"
        )


def _reply(answer: Any, url: str) -> Reply:
    try:
        told = answer.json()
        text = told["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadInput(f"judge at {url}: not a chat completion: {_short(answer.text)}; check {URL}") from None
    text, model = text if isinstance(text, str) else "", str(told.get("model", "unnamed"))
    return Reply(text=_whole(text), model=_whole(model))


def _whole(text: str) -> str:
    """Put ? for half of a surrogate pair, which JSON may say and no file of ours can hold."""
    return text.encode(errors="replace").decode()


def _read_cache(path: Path) -> dict[str, Reply]:
    """Read the replies that are there; a last line that was cut off in the middle is dropped."""
    if not path.exists():
        return {}
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
    replies = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].decode().split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
            replies[row["request_sha256"]] = Reply(text=row["text"], model=row["model"])
        except (json.JSONDecodeError, KeyError, TypeError):
            raise BadInput(f"{path}, line {number}: not a kept reply; remove the file to ask anew") from None
    return replies


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
