"""URLs and paths as they may be stored, shown and shared: without what lets whoever reads them in, or where a home lies. It opens none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

# parts of a query parameter's name (X-Amz-Signature, api_key, AWSAccessKeyId, ...) that make its value a secret
_SECRET = frozenset(
    [
        "accesskey",
        "accesstoken",
        "apikey",
        "auth",
        "authkey",
        "authorization",
        "authtoken",
        "bearer",
        "credential",
        "credentials",
        "hdnea",
        "hdntl",
        "hdnts",
        "hmac",
        "jwt",
        "key",
        "pass",
        "passphrase",
        "passwd",
        "password",
        "policy",
        "pw",
        "pwd",
        "sas",
        "secret",
        "session",
        "sessionid",
        "sharedaccesskey",
        "sid",
        "sig",
        "signature",
        "token",
        "usertoken",
    ]
)
_LONG_CODE = 20  # characters from which on `code=` is a key (Azure Functions' has 50 and more), not a word such as en
# what is signed along with them, different at each signing. Source: the signing pages of S3, CloudFront, GCS and Azure
_SIGNED_ALONG = re.compile(
    r"(x-(amz|goog)-.*|expires|googleaccessid|s[eiprtv]|spr|sk[etsv]|skoid|sktid)", re.IGNORECASE
)
_OF_THIS_DISK = re.compile(r"((file|hub)://)?~?/\S")
_NEXT_PLACE = re.compile(r"\s+(?=\w+://|~?/\S)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# user and password before the host, also a password with / ? or # in it as it stands, which is no port
_USER = re.compile(r"^([a-z][a-z0-9+.-]*://)([^/?#]*@|[^/?#@:\s\[]+:(?!\d{1,5}([/?#]|$))\S*@)", re.IGNORECASE)
_BARE_USER = re.compile(r"^(//)?[\w.+-]+:(?!//)[^@\s]+@(?=[\w.-])")  # the same where the scheme was forgotten
_OF_PATH = re.compile(r";([^;/?#=]+=[^;/?#]*)")
_OBJECT = re.compile(r"\.[a-z0-9]{1,5}$", re.IGNORECASE)  # the ending of a file's name


def without_secrets(url: str) -> str:
    """Take user, password and signatures out of a URL, or of what should have been one; the rest stays as it is written."""
    url = _BARE_USER.sub(lambda found: found[1] or "", _USER.sub(r"\1", url))
    rest, hash_mark, fragment = url.partition("#")
    head, mark, query = rest.partition("?")
    head = _OF_PATH.sub(lambda found: "" if _is_secret(found[1]) else found[0], head)
    query, fragment = _kept(query), _kept(fragment)
    return f"{head}{mark if query else ''}{query}{hash_mark if fragment else ''}{fragment}"


def _kept(query: str) -> str:
    """Leave of a query's parameters those that let nobody in; of URLs within them, as much as of any."""
    parts = re.split("([&;])", query)
    kept = [(mark, part) for mark, part in zip(["", *parts[1::2]], parts[::2], strict=True) if not _is_secret(part)]
    if len(kept) < len(parts[::2]):
        kept = [(mark, part) for mark, part in kept if not _SIGNED_ALONG.fullmatch(unquote(part.partition("=")[0]))]
    return "".join(mark * (place > 0) + _without_inner(part) for place, (mark, part) in enumerate(kept))


def _without_inner(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    inner = unquote(value)
    if "://" not in inner or (cleaned := without_secrets(inner)) == inner:
        return parameter
    return f"{name}{equals}{quote(cleaned, safe='')}"


def has_password(url: str) -> bool:
    """Tell whether a URL says who asks, before its host."""
    return _USER.match(url) is not None


def _is_secret(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    words = [word.lower() for word in _WORD.findall(unquote(name))]
    if words == ["key"] and _OBJECT.search(value):  # the key of an object in a store is its name
        return False
    if words == ["code"] and len(value) >= _LONG_CODE:
        return True
    return not _SECRET.isdisjoint(words)


def without_places(told: Any) -> Any:
    """Leave of each path of this disk its last part: where a home lies is nobody's business."""
    if isinstance(told, dict):
        return {key: without_places(value) for key, value in told.items()}
    if isinstance(told, (list, tuple)):
        return [without_places(value) for value in told]
    if not isinstance(told, str):
        return told
    places = _NEXT_PLACE.split(told)  # a source's are in one text
    return " ".join(f".../{Path(place).name}" if _OF_THIS_DISK.match(place) else place for place in places)
