"""What several sections of a manifest are made of: a checksum, a URL, a name, a path that stays inside."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, StringConstraints

from tinyllava_core.errors import BadInput
from tinyllava_core.secret import has_password, without_secrets


def _without_password(url: str) -> str:
    if has_password(url):
        raise ValueError("a user's name or password in a URL; take it out, and put it into ~/.netrc")
    return url


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# http(s), the toy world's own server, or a store: see data/files/schemes.py. Written out without signatures: a file that
# was signed again is the same file, and what is written out is shared
Url = Annotated[
    str,
    StringConstraints(pattern=r"^((https?|toyworld|s3|gs|az|memory)://[^/\s]+/|file:///)\S+$"),
    AfterValidator(_without_password),
    PlainSerializer(without_secrets, when_used="json"),
]
Host = Annotated[str, StringConstraints(pattern=r"^[^/\s@]+$", to_lower=True)]
# no dots: WebDataset keys and record ids hang on it
_NAME = r"^[a-z0-9][a-z0-9-]*$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]


def check_name(name: str, where: str) -> None:
    """Raise BadInput unless a manifest may be called so. `where`: what named it, for the message."""
    if not re.fullmatch(_NAME, name):
        raise BadInput(
            f"{where}: a source cannot be called {name!r}; expected small letters, digits and -, as in my-photos"
        )


def relative(path: str) -> bool:
    """Tell whether a path stays inside the folder it is relative to."""
    return not path.startswith("/") and "\\" not in path and ".." not in PurePosixPath(path).parts


def exactly_one(model: Any, *fields: str, where: str = "") -> None:
    """Raises ValueError unless exactly one of the fields is given."""
    given = [field for field in fields if getattr(model, field)]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ValueError(f"{where}expected exactly one of {', '.join(fields)}; found {found}")
