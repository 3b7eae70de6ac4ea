"""Why a row of a URL table did not become a file, read from img2dataset's error texts. A new reason is a row here."""

from __future__ import annotations

import re
from enum import StrEnum


class FetchFault(StrEnum):
    """Why a row of a URL table did not become a file."""

    HTTP_404 = "http_404"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_500 = "http_500"
    HTTP_5XX = "http_5xx"
    REDIRECTS = "redirects"  # in a circle, too many, or to what is no http(s) URL
    TIMEOUT = "timeout"  # also of a server that drips
    CONNECTION = "connection"  # refused, reset, closed without an answer
    NO_HOST = "no_host"  # there is no such host (any more)
    TRUNCATED = "truncated"  # the body was shorter than its Content-Length
    DISALLOWED = "disallowed"  # the server's X-Robots-Tag opts out
    NOT_AN_IMAGE = "not_an_image"  # something came, but no picture (a web page, nothing at all)
    OTHER_BYTES = "other_bytes"  # a picture, but not the one whose sha256 the table has
    TOO_BIG = "too_big"
    BAD_URL = "bad_url"  # none, one that nobody could ask for, or one with a password in it
    BAD_NAME = "bad_name"  # no disk can hold it, or it is another row's folder
    PRIVATE = "private_address"  # it leads to this machine or a private network, and nobody asked for that
    UNFORESEEN = "unforeseen"  # what nobody thought of


# What another attempt, a while later, may cure. A host that is not there, or a 404, is not among them.
MAY_PASS = frozenset(
    {
        FetchFault.HTTP_429,
        FetchFault.HTTP_500,
        FetchFault.HTTP_5XX,
        FetchFault.TIMEOUT,
        FetchFault.CONNECTION,
        FetchFault.TRUNCATED,
    }
)

_STATUSES = {"404": FetchFault.HTTP_404, "429": FetchFault.HTTP_429, "500": FetchFault.HTTP_500}
_CLASSES = {"3": FetchFault.REDIRECTS, "4": FetchFault.HTTP_4XX, "5": FetchFault.HTTP_5XX}
_PATTERNS = (
    (r"timed out", FetchFault.TIMEOUT),
    (r"IncompleteRead|without sending complete message body", FetchFault.TRUNCATED),
    (r"not a public address", FetchFault.PRIVATE),
    (r"redirected in a circle", FetchFault.REDIRECTS),
    (r"X-Robots-Tag", FetchFault.DISALLOWED),
    (r"more than \d+ bytes", FetchFault.TOO_BIG),
    (r"unknown url type|no host given|invalid url|can't contain control", FetchFault.BAD_URL),
    (r"Name or service not known|nodename nor servname|No address associated", FetchFault.NO_HOST),
    (r"urlopen error|Remote end closed|Connection (refused|reset|aborted|failed)|Broken pipe", FetchFault.CONNECTION),
)


def fault_of(message: str) -> FetchFault:
    """Name the fault behind an error text of img2dataset, which are ours and those of the libraries below."""
    if match := re.search(r"HTTP Error (\d)(\d\d)", message):
        return _STATUSES.get(match[1] + match[2], _CLASSES.get(match[1], FetchFault.UNFORESEEN))
    for pattern, fault in _PATTERNS:
        if re.search(pattern, message, re.IGNORECASE):
            return fault
    return FetchFault.UNFORESEEN
