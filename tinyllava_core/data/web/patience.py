"""How long to go on with a server that does not answer well, and how politely to ask it. It opens no connection."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Waits, limits and floors of everything that is fetched over HTTP."""

    attempts: int = 6  # in a row that bring hardly anything
    nameless_attempts: int = 3  # of those, where nobody here knows the host's name: mostly there is no network
    first_wait_s: float = 1.0  # doubled after each attempt, less a random part
    longest_wait_s: float = 120.0  # also for the server's own Retry-After
    timeout_s: float = 30.0  # of the connection, and of each silence while reading
    slowest_bytes_s: float = 1024.0  # a connection below it for a whole `slow_window_s` is given up
    slow_window_s: float = 30.0
    connections_per_host: int = 8  # at once, of all threads and processes of this user on this machine
    pause_s: float = 0.005  # between two requests to one host, of all of them together
    image_timeout_s: float = 10.0  # `timeout_s`, for one image of a URL table
    image_longest_s: float = 120.0  # for one image in all
    image_retries: int = 2  # further passes over the rows of a URL table whose fault may be gone in a while
    stall_s: float = 300.0  # a URL table is given up when nothing moves for so long

    def wait_s(self, failures: int, asked_s: float = 0.0) -> float:
        """Give the wait after so many failures in a row: exponential, between half of it and all of it by chance.

        `asked_s`: what the server asked for, which is waited for at least. Never more than `longest_wait_s`.
        """
        wait = self.first_wait_s * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
        return min(max(wait, asked_s), self.longest_wait_s)


def retry_after_s(header: str | None, now: datetime | None = None) -> float:
    """Read a Retry-After header: seconds, or a date. 0.0 where there is none, or none that can be read.

    Source: RFC 9110, section 10.2.3.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
