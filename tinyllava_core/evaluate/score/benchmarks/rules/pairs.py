"""Names with values in replies: how they are written, and how many of them are right.

Source: OCRBench v2 `TEDS_metric.py`, `convert_str_to_dict` and `compute_f1_score`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_FENCE = re.compile(r"```(?:python|json)?\n(.*?)\n```", re.DOTALL | re.IGNORECASE)
_PAIR = re.compile(r"""["']?([\w\s]+)["']?\s*[:=]\s*["']?([^\n,"'{}]+)["']?""")


def pairs(text: str) -> dict[str, str]:
    """Read a reply's names and values: JSON, Python, or whatever looks like `name: value`; {}: nothing."""
    fenced = _FENCE.search(text)
    content = fenced.group(1) if fenced else text.strip()
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(content)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict) or read is json.loads:
            return _as_texts(found)
    return _as_texts({name.strip(): value.strip() for name, value in _PAIR.findall(content)})


def _as_texts(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        return {}
    return {name.strip(): str(value).strip() for name, value in found.items()}


def share_right(said: Mapping[str, str], gold: Mapping[str, Sequence[str]]) -> float:
    """Give the share of names, of both sides together, whose value is one of the right ones; case and blanks do not count."""
    names = {*said, *gold}
    right = sum(1 for name in names if name in said and _flat(said[name]) in map(_flat, gold.get(name, ())))
    return right / len(names) if names else 0.0


def _flat(text: str) -> str:
    return text.lower().strip().replace("\n", " ").replace(" ", "")
