"""Ask a judge model behind any OpenAI-compatible endpoint; every reply is kept, so that a killed scoring goes on.

What is asked and how a reply is read is each benchmark's rule. The endpoint, the model and the key come from the
environment; the key is never written nor shown anywhere, and prompts go to that endpoint alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.kept import Reply, keep, read
from tinyllava_core.secret import without_secrets

if TYPE_CHECKING:
    import httpx

URL, MODEL, KEY = "TINYLLAVA_JUDGE_URL", "TINYLLAVA_JUDGE_MODEL", "TINYLLAVA_JUDGE_KEY"
ANSWER = "\x00"  # where the model's answer goes in what a judge is told
TIMEOUT_S = 120.0  # of one answer, to its last byte
MOST_BYTES = 4 << 20  # of one answer: the longest replies that models give are some hundred kB
TRIES = 6  # of one request; waits of 1, 2, 4, 8, 16 s between them: half a minute of a busy endpoint
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}  # statuses that may pass
_THIS_ALONE = {400, 413, 422}  # of a request that is not to be had: too long, filtered, a picture it cannot read


class Refused(BadInput):
    """This very request has no answer: the endpoint refuses what it says or its length, or answers it with what is no reply."""


def judge_model() -> str | None:
    """Name the judge model that the environment names: another one gives other scores."""
    return os.environ.get(MODEL) or None


class Judge:
    """A judge model, with its replies so far on this disk."""

    def __init__(self, url: str, model: str, key: str | None, cache: Path, *, wait_s: float = 1.0) -> None:
        """Take up the replies that an earlier life left in `cache`. Raises BadInput if the URL is none, or the file another one."""
        self.model = model
        base, mark, query = url.partition("?")
        self._url = f"{base.rstrip('/')}/chat/completions{mark}{query}"
        self._named, self._key, self._cache, self._wait_s = without_secrets(url.rstrip("/")), key, cache, wait_s
        _check_url(url)
        self._replies, lost = read(cache)
        if lost:
            told = f"{cache}: lines that cannot be read, as after a full disk: {lost}; what they held is asked anew"
            print(told, file=sys.stderr)
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
        from tinyllava_core.data.web.opener import key_of

        return cls(os.environ[URL], os.environ[MODEL], key_of(KEY), cache)

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
                keep(self._cache, line)
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
        from tinyllava_core.data.web.opener import HTTP_FAULTS, no_answer, post

        body, fault = json.dumps(request).encode(), ""
        for again in range(TRIES):
            if again:
                time.sleep(self._wait_s * 2 ** (again - 1))
            try:
                with post(self._url, body, longest_s=TIMEOUT_S, key=self._key) as answer:
                    if answer.status_code not in _AGAIN:
                        return self._reply(answer)
                    fault = f"status {answer.status_code}"
            except HTTP_FAULTS as error:
                fault = self._shown(no_answer(error, TIMEOUT_S))
        raise BadInput(
            f"{self._who}: {fault}, {TRIES} times; the replies so far are kept in {self._cache}: "
            "the same command goes on from there"
        )

    @property
    def _who(self) -> str:
        return f"judge {self.model} at {self._named}"

    def _reply(self, answer: httpx.Response) -> Reply:
        """Read a reply out of an answer. Raises Refused where it is none, BadInput where others would have none either."""
        status, where = answer.status_code, answer.headers.get("Location", "")
        if 300 <= status < 400:
            raise BadInput(
                f"{self._who}: status {status}, to {self._shown(where)!r}; prompts and pictures go nowhere else: set {URL} to "
                "where they are meant to go"
            )
        content, encoding = _start(answer), answer.headers.get("Content-Encoding", "identity")
        if status != 200:
            kind = Refused if status in _THIS_ALONE else BadInput
            raise kind(f"{self._who}: status {status}: {self._shown(content)}; check {URL}, {MODEL} and {KEY}")
        if len(content) > MOST_BYTES:
            raise Refused(f"{self._who}: an answer of more than {MOST_BYTES >> 20} MB; check {URL} and {MODEL}")
        try:
            told = json.loads(content)
            text = told["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            unasked = encoding != "identity"
            what = (
                f"packed ({self._shown(encoding)}), unasked"
                if unasked
                else f"not a chat completion: {self._shown(content)}"
            )
            raise Refused(f"{self._who}: {what}; check {URL}") from None
        text, model = text if isinstance(text, str) else "", str(told.get("model", "unnamed"))
        return Reply(text=_whole(text), model=_whole(model))

    def _shown(self, said: str | bytes) -> str:
        """Write what an endpoint says on one line, and not the key, which some say again."""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        return " ".join((text.replace(self._key, "***") if self._key else text).split())[:200]


def _check_url(url: str) -> None:
    import httpx

    with contextlib.suppress(httpx.InvalidURL, ValueError):
        if (parts := httpx.URL(url)).scheme in ("http", "https") and parts.host and (parts.port or 80) < 65536:
            return
    raise BadInput(
        f"{URL}: {without_secrets(url)!r} is no http(s) address; expected one such as http://127.0.0.1:8000/v1"
    )


def _start(answer: httpx.Response) -> bytes:
    """Read an answer as it comes, packed or not, and one byte more than there may be: so nothing unfolds in memory."""
    content = bytearray()
    for piece in answer.iter_raw():
        content += piece
        if len(content) > MOST_BYTES:
            break
    return bytes(content[: MOST_BYTES + 1])


def _whole(text: str) -> str:
    """Put ? for half of a surrogate pair, which JSON may say and no file of ours can hold."""
    return text.encode(errors="replace").decode()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
