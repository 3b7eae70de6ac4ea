"""Fill a page's template: one look (style.css) and one way to write numbers for every page. It knows no page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
_SHOWN = 100  # characters of a setting; the page has the whole recipe elsewhere


def render(template: Path, **values: Any) -> str:
    """Fill a template of any folder; what data says stays text. `{% include "style.css" %}` is the house style."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "size": size,
        "seconds": seconds,
        "rate": rate,
        "signed": signed,
        "plain": plain,
        "as_set": as_set,
    }
    return environment.get_template(template.name).render(**values)


def verbatim(path: Path) -> Markup:
    """Give a script or drawing of ours as it is."""
    return Markup(path.read_text(encoding="utf-8"))


def number(value: float) -> str:
    """Write a count."""
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Write a number of bytes."""
    for unit, many in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= many:
            return f"{value / many:.1f} {unit}"
    return f"{value:.0f} B"


def seconds(value: float) -> str:
    """Write a duration."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def rate(value: float | None) -> str:
    """Write a setting; nothing for None."""
    return "" if value is None else f"{value:g}"


def signed(value: float) -> str:
    """Write a difference, with a true minus."""
    return f"{value:+.1f}".replace("-", "−")


def plain(word: str) -> str:
    """Write one of our words as a person would."""
    return word.replace("_", " ")


def as_set(value: Any) -> str:
    """Write what was set on a recipe as one would set it: YAML, on one line, cut where it is long."""
    line = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    told = line.removesuffix("\n...\n").strip()
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]} …"
