"""Keep libtiff's own words off the console: it writes them past Python, one for each oddity of a stranger's file.

What is wrong with a picture comes as Pillow's exception all the same. Where the library is not found, nothing changes.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

from PIL import Image


def hush() -> None:
    """Take away the handlers that print."""
    Image.init()  # loads what Pillow is linked with
    with contextlib.suppress(OSError, StopIteration, AttributeError):
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        library = ctypes.CDLL(next(line.split(maxsplit=5)[5] for line in lines if "/libtiff" in line))
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
