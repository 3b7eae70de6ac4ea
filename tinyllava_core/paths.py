"""Paths as people write them: with ~ for a home folder. It looks at no file."""

from __future__ import annotations

from pathlib import Path

from tinyllava_core.errors import BadInput


def expanded(path: str | Path) -> Path:
    """Put the home folder in the place of ~, but for that of `./~name`. Raises BadInput where nobody has one of that name."""
    if not str(path).startswith("~"):
        return Path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadInput(
            f"{path}: there is no home folder for {str(path).split('/')[0]!r}; write the whole path"
        ) from None
