"""Write a contact sheet of a few records: one HTML file that needs nothing else. Which records is data/inspect/preview.py's to say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.inspect.preview import Preview
from tinyllava_core.data.inspect.small import inline
from tinyllava_core.data.plan.reading import Reading
from tinyllava_core.data.record.record import IMAGE_TAG


def write_preview(
    found: Preview, dropped: bool, seed: int, out: Path, readings: Mapping[str, Reading] | None = None
) -> None:
    """Write `out`: the records as cards, with their pictures, words, repairs, notes and reasons.

    `readings`: by record id, what the model is given of it, token by token.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "words": _words, "plain": lambda name: name.replace("_", " ")}
    page = environment.get_template("preview.html").render(
        found=found, dropped=dropped, seed=seed, readings=readings or {}
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_aside(out, page.encode(errors="backslashreplace").decode())


def _words(text: str) -> Markup:
    """Show a turn's text as it is: image tags and control characters visible, line ends kept by the style."""
    safe = str(escape(text.strip("\n")))
    safe = safe.replace(str(escape(IMAGE_TAG)), '<span class="tag">image</span>')
    return Markup(
        re.sub(
            "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]",
            lambda found: f"<span class='tag'>U+{ord(found[0]):04X}</span>",
            safe,
        )
    )
