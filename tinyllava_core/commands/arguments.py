"""What several commands take: a workspace, --set, another program's place. It knows no command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """Let a command take --workspace."""
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("TINYLLAVA_WORKSPACE") or "workspace"),
        help="where artifacts and lineage are (default: $TINYLLAVA_WORKSPACE, else ./workspace)",
    )


def add_format(parser: argparse._ActionsContainer) -> None:
    """Let a command take --format, and --json for short."""
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Let a command take a checkpoint, by any of its names."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="`latest`, a run's id, first letters of a fingerprint, or a folder"
    )


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Let a command take --set key=value ..."""
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value", help="set a field, as in sft.lr=1e-5"
    )


def become_run(recipe: str, overrides: Mapping[str, Any], workspace: Path) -> NoReturn:
    """Let a run of the pipeline take this process's place."""
    settings = [word for key, value in overrides.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    become("flows", recipe, *settings, "--workspace", str(workspace))


def become(module: str, *words: str) -> NoReturn:
    """Let `python -m module` take this process's place: its exit code, signals and terminal are then the user's."""
    sys.stdout.flush()
    os.environ["PYTHONSAFEPATH"] = (
        "1"  # for all that is started from there, too: a tasks.py in the working directory is the user's
    )
    os.execv(sys.executable, [sys.executable, "-m", module, *words])
