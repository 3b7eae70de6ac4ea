"""A stand-in for an OpenAI-compatible endpoint on loopback: it replays what it is told, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = str | int | dict[str, Any] | bytes  # a text; a status; a whole body; its bytes


class JudgeServer(ThreadingHTTPServer):
    """Gives each request's reply: of a function of the request, or the next of a list."""

    daemon_threads = True

    def __init__(self, replies: Callable[[dict[str, Any]], Reply] | list[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies, self.asked, self.keys = replies, [], []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        self.server.asked.append(request)
        self.server.keys.append(self.headers.get("Authorization"))
        replies = self.server.replies
        reply = replies.pop(0) if isinstance(replies, list) else replies(request)
        status = reply if isinstance(reply, int) else 200
        if isinstance(reply, bytes):
            body = reply
        else:
            told = {"model": "judge-2026", "choices": [{"message": {"role": "assistant", "content": reply}}]}
            body = json.dumps(reply if isinstance(reply, dict) else told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def judge_server(replies: Callable[[dict[str, Any]], Reply] | list[Reply]) -> Iterator[JudgeServer]:
    """Run one for as long as the block."""
    with JudgeServer(replies) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
