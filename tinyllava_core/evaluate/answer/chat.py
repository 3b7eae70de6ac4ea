"""A page to talk to a checkpoint on: the process behind `tinyllava chat`. One model, one answer at a time.

It keeps nothing: the browser holds the conversation and sends all of it with each question. The page itself is chat.html.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from torch import Tensor

from tinyllava_core.data.inspect.decode_process import DecoderProcess
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.data.web.door import LOOPBACK, Door, Inside, Message, Receive, Send
from tinyllava_core.errors import BadInput, is_no_text
from tinyllava_core.evaluate.answer.answer import Answerer, Asked, Shown
from tinyllava_core.evaluate.answer.ask import Stream, load
from tinyllava_core.frozen import Frozen
from tinyllava_core.job import ChatJob

PAGE = Path(__file__).with_name("chat.html")
MAX_BODY_BYTES = 32_000_000  # of one request: a conversation with its pictures
BODY_WITHIN_S = 60.0  # a request of that size on a slow line; one that does not end holds a place of those
MOST_PICTURES = 64  # of a conversation
PICTURES_WITHIN_S = 20.0  # all of them decoded: there is one decoder, and others wait for it
MOST_AT_ONCE = 4  # requests that are held in memory; others are told to come again


class Line(Frozen):
    """What one side said. `images`: data URLs, as a browser makes them."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[str, ...] = ()


class Conversation(Frozen):
    """A conversation whose last line waits for an answer."""

    lines: tuple[Line, ...]


def main(arguments: Sequence[str]) -> int:
    """Serve the page until Ctrl-C. Exit code 2 and one line on stderr where the input is at fault."""
    try:
        todo = ChatJob.parse(json.loads(arguments[0]), "job")
        door = listen(todo.host, todo.port)
        answerer = load(todo.checkpoint, todo.device)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    answerer.decode = DecoderProcess()
    host, port = door.getsockname()[:2]
    key = None if host.startswith("127.") else secrets.token_urlsafe(16)
    app = guarded(make_app(answerer, todo.max_new_tokens, todo.starters), (host, *LOOPBACK), key)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    print(f"chat at http://{host}:{port}/{f'?key={key}' if key else ''} (Ctrl-C ends it)", flush=True)
    server.run(sockets=[door])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """Take the address before the model is loaded. Raises BadInput if it is not to be had."""
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise BadInput(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port or --host"
        ) from None
    return door


def guarded(app: Inside, names: Collection[str], key: str | None) -> Inside:
    """Answer only the page's own requests: by the server's names, or from anywhere with the key in the address."""

    async def keyed(scope: Message, receive: Receive, send: Send) -> None:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("key", [""])[0]
        if scope["type"] == "http" and not hmac.compare_digest(given.encode(), str(key).encode()):
            fault = {"error": "open the page by its whole address, with ?key=..., as `tinyllava chat` printed it"}
            await JSONResponse(fault, status_code=401)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return Door(app, names) if key is None else Door(keyed, None)


def make_app(answerer: Answerer, max_new_tokens: int, starters: Sequence[str] = ()) -> Starlette:
    """Build the page and what it asks for."""
    one_at_a_time, held = threading.Lock(), asyncio.Semaphore(MOST_AT_ONCE)

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def about(_: Request) -> Response:
        return JSONResponse({**facts(answerer), "starters": list(starters)})

    async def reply(request: Request) -> Response:
        if held.locked():
            return JSONResponse({"error": "others are asking just now; ask again"}, status_code=503)
        async with held:
            try:  # in a thread: a picture takes its time, and others wait for this one
                asked = await run_in_threadpool(read, answerer, await _body(request), max_new_tokens)
            except BadInput as error:
                return JSONResponse({"error": str(error)}, status_code=400)
            except (ClientDisconnect, TimeoutError):
                return JSONResponse({"error": f"the request did not come within {BODY_WITHIN_S:g} s"}, status_code=408)
        events = answer(answerer, asked, max_new_tokens, one_at_a_time)
        return StreamingResponse(events, media_type="application/x-ndjson")

    return Starlette(routes=[Route("/", page), Route("/about", about), Route("/reply", reply, methods=["POST"])])


def facts(answerer: Answerer) -> dict[str, Any]:
    """Say what the page tells of the model."""
    loaded, card = answerer.loaded, answerer.loaded.card
    return {
        "language": card.language,
        "connector": card.connector,
        "prompt": loaded.prompt,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "picture": f"{loaded.vision.image_size} px, {loaded.image_mode}",
        "folder": str(loaded.folder),
    }


def read(answerer: Answerer, body: bytes, max_new_tokens: int) -> Asked:
    """Turn a request into what the model takes. Raises BadInput where it is no conversation, or too long a one."""
    try:
        data = json.loads(body)
    except ValueError:
        raise BadInput("the request is not JSON") from None
    except RecursionError:
        raise BadInput("the request is nested too deeply") from None
    lines = Conversation.parse(data, "the request").lines
    roles = [line.role for line in lines]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise BadInput(f"the sides must take turns, the user first and last; found {', '.join(roles) or 'nothing'}")
    if not lines[-1].text.strip():
        raise BadInput("the question is empty")
    if any(is_no_text(line.text) for line in lines):
        raise BadInput("a text holds half of a surrogate pair, which is no character; take it out")
    if any(IMAGE_TAG in line.text for line in lines):
        raise BadInput(f"a text holds {IMAGE_TAG}, which stands for a picture; add the picture instead")
    turns = [Turn(role=line.role, text=IMAGE_TAG * len(line.images) + line.text) for line in lines]
    names = [(image, f"picture {number}") for number, image in enumerate((i for line in lines for i in line.images), 1)]
    if len(names) > MOST_PICTURES:
        raise BadInput(f"{len(names):,} pictures; a conversation may have {MOST_PICTURES}: start a new one")
    pictures = tuple(_decoded(answerer, names))
    ids = answerer.conversation_ids(turns, [one.size for one in pictures])
    room = getattr(answerer.loaded.model.config.text_config, "max_position_embeddings", None)
    if room is not None and len(ids) + max_new_tokens > room:
        raise BadInput(
            f"the conversation is too long: {len(ids):,} tokens and an answer of up to {max_new_tokens:,}, of {room:,}; "
            "start a new one"
        )
    return Asked(ids=ids, pictures=pictures)


async def answer(
    answerer: Answerer, asked: Asked, max_new_tokens: int, one_at_a_time: threading.Lock
) -> AsyncIterator[str]:
    """Give the answer as it is made, as lines of JSON: {"text"} each, at last {"tokens", "seconds"} or {"error"}.

    If the reader goes away, the model stops at the next token.
    """
    loop, events, gone = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None](), threading.Event()

    def tell(event: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    def work() -> None:
        with one_at_a_time:
            if gone.is_set():
                return
            stream, started = _Counted(answerer, lambda text: tell({"text": text})), time.monotonic()
            try:
                answerer.answer([asked], max_new_tokens, stream, gone.is_set)
                tell({"tokens": stream.tokens, "seconds": round(time.monotonic() - started, 2)})
            except Exception as error:
                tell({"error": f"{type(error).__name__}: {error}"})
            tell(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (event := await events.get()) is not None:
            yield json.dumps(event, ensure_ascii=False) + "\n"
    finally:
        gone.set()


class _Counted(Stream):
    """Counts the tokens that it hands on."""

    def __init__(self, answerer: Answerer, write: Any) -> None:
        super().__init__(answerer.tokenizer, answerer.stop_ids, write)
        self.tokens = -1  # the first call brings the prompt

    def put(self, value: Tensor) -> None:
        self.tokens += 1
        super().put(value)


async def _body(request: Request) -> bytes:
    fault = BadInput(f"the request is larger than {MAX_BODY_BYTES:,} bytes; use smaller pictures")
    if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
        raise fault
    body = bytearray()
    async with asyncio.timeout(BODY_WITHIN_S):
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise fault
    return bytes(body)


def _decoded(answerer: Answerer, names: Sequence[tuple[str, str]]) -> Iterator[Shown]:
    end = time.monotonic() + PICTURES_WITHIN_S
    for image, name in names:
        if time.monotonic() > end:
            raise BadInput(
                f"{name}: those before it took longer than {PICTURES_WITHIN_S:g} s to read; use smaller ones, or fewer"
            )
        yield answerer.decoded(_bytes(image, name), name)


def _bytes(url: str, name: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadInput(f"{name}: expected a data URL in base64")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise BadInput(f"{name}: its base64 is broken") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
