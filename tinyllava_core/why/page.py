"""Pages of records to look at: an answer with its nearest records, or the hardest records of each group. One HTML file each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.inspect.small import inline
from tinyllava_core.data.record.record import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One record, or one answer, on a page."""

    name: str
    turns: tuple[Turn, ...]
    pictures: tuple[bytes, ...]  # JPEG files
    told: str  # one line under it


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Some cards under a heading."""

    heading: str
    cards: Sequence[Card]


def write_cards(title: str, sentences: Sequence[str], sections: Sequence[Section], out: Path) -> None:
    """Write `out`; `sentences` stand on top, before any record: what the page shows and how far to trust it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    page = environment.get_template("cards.html").render(title=title, sentences=sentences, sections=sections)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_aside(out, page)
