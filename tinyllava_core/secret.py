"""URLs and paths as they may be stored, shown and shared: without what lets whoever reads them in, or where a home lies. It opens none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# parts of a query parameter's name (X-Amz-Signature, api_key, AWSAccessKeyId, ...) that make its value a secret
_SECRET = frozenset(
    (
        *(
            "accesskey",
            "accesstoken",
            "apikey",
            "auth",
            "authorization",
            "authtoken",
            "credential",
            "credentials",
            "hmac",
        ),
        *("jwt", "key", "passwd", "password", "policy", "pwd", "secret", "sessionid", "sig", "signature", "token"),
    )
)
# what is signed along with them, different at each signing. Source: the signing pages of S3, CloudFront, GCS and Azure
_SIGNED_ALONG = re.compile(
    r"(x-(amz|goog)-.*|expires|googleaccessid|s[eiprtv]|spr|sk[etsv]|skoid|sktid)", re.IGNORECASE
)
_OF_THIS_DISK = re.compile(r"((file|hub)://)?~?/\S")
_NEXT_PLACE = re.compile(r"\s+(?=\w+://|~?/\S)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_USER = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)


def without_secrets(url: str) -> str:
    """Take user, password and signatures out of a URL, or of what should have been one; the rest stays as it is written."""
    head, mark, query = _USER.sub(r"\1", url).partition("?")
    kept = [part for part in query.split("&") if not _is_secret(part)]
    if len(kept) < query.count("&") + 1:
        kept = [part for part in kept if not _SIGNED_ALONG.fullmatch(part.partition("=")[0])]
    query = "&".join(kept)
    return f"{head}{mark if query else ''}{query}"


def has_password(url: str) -> bool:
    """Tell whether a URL says who asks, before its host."""
    return _USER.match(url) is not None


def _is_secret(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    words = [word.lower() for word in _WORD.findall(name)]
    if words == ["key"] and "." in value:  # the key of an object in a store is its name
        return False
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
