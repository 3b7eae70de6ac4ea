"""Keep the words of libtiff and Pillow off the console: one for each oddity of a stranger's file, libtiff's past Python.

What is wrong with a picture comes as Pillow's exception all the same. Where the library is not found, nothing changes.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
from pathlib import Path

from PIL import Image


def hush() -> None:
    """Take away the handlers that print; what Pillow logs is still there for whoever listens."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    Image.init()  # loads what Pillow is linked with
    with contextlib.suppress(OSError, StopIteration, AttributeError):
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        library = ctypes.CDLL(next(line.split(maxsplit=5)[5] for line in lines if "/libtiff" in line))
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
