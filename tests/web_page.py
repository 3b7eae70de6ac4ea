"""What a browser sends on behalf of a page, made by hand: requests with any Host, Origin and key."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def basic(key: str) -> str:
    """Give the header `Authorization` for a key."""
    return f"Basic {base64.b64encode(key.encode()).decode()}"


def send(url: str, headers: Mapping[str, str], body: Any = None) -> tuple[int, str]:
    """Send exactly these headers: GET, or POST with a body as JSON -> (status, answer)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    try:
        method = "GET" if body is None else "POST"
        place = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.putrequest(method, place, skip_host=True)
        sent = json.dumps(body).encode() if body is not None else b""
        for name, value in ({"Host": parts.netloc} | dict(headers)).items():
            connection.putheader(name, value)
        if body is not None:
            if "Content-Type" not in headers:
                connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(sent)))
        connection.endheaders(sent or None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()
