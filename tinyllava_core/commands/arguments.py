"""What several commands take: a workspace, `key=value` words, another program's place. It knows no command."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from tinyllava_core.errors import BadInput


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """Let a command take --workspace."""
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("TINYLLAVA_WORKSPACE") or "workspace"),
        help="where artifacts and lineage are (default: $TINYLLAVA_WORKSPACE, else ./workspace)",
    )


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Let a command take --set key=value ..."""
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value", help="set a field, as in sft.lr=1e-5"
    )


def overrides(words: list[str]) -> dict[str, Any]:
    """Read the words of --set: dotted keys, YAML values. Raises BadInput."""
    import yaml

    found = {}
    for key, value in map(pair, words):
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise BadInput(
                f"--set {key}={value}: the value is not YAML; expected a number, a word or a [list]"
            ) from None
    return found


def pair(word: str) -> tuple[str, str]:
    """Cut `key=value` in two. Raises BadInput."""
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise BadInput(f"{word!r}: expected key=value")
    return key, value


def become(module: str, *words: str) -> NoReturn:
    """Let `python -m module` take this process's place: its exit code, signals and terminal are then the user's."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *words])
