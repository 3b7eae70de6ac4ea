"""What several commands take: a workspace, --set, another program's place. It knows no command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from tinyllava_core.errors import BadInput


def told(command: ModuleType) -> dict[str, Any]:
    """Give what a command says of itself: in the list of its like, and on its own page."""
    text = command.HELP[0].upper() + command.HELP[1:]
    return {"help": command.HELP, "description": f"{text}. {getattr(command, 'DESCRIPTION', '')}"}


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


def add_gpu(parser: argparse._ActionsContainer) -> None:
    """Let a command take --gpu and --utilisation."""
    parser.add_argument("--gpu", default="A100", help="kind of GPU, for its speed and memory (default: A100)")
    # Source of 0.4: models of 1-7 billion parameters on A100s come to 0.4-0.5 in the table of MosaicML's llm-foundry.
    parser.add_argument(
        "--utilisation", type=float, default=0.4, help="part of the GPU's peak that is reached (default: 0.4)"
    )


def check_utilisation(args: argparse.Namespace) -> None:
    """Raises BadInput for a part of the peak that cannot be."""
    if not 0 < args.utilisation <= 1:
        raise BadInput(f"--utilisation {args.utilisation}: expected a part of the peak, more than 0 and at most 1")


def add_price(parser: argparse._ActionsContainer) -> None:
    """Let a command take what a model behind an endpoint costs: --price and --picture-tokens."""
    parser.add_argument(
        "--price",
        nargs=2,
        type=float,
        metavar=("SENT", "BACK"),
        help="money for a million tokens sent, and for a million that come back, as the model's seller tells it",
    )
    parser.add_argument(
        "--picture-tokens",
        type=int,
        metavar="N",
        help="tokens that the model takes for a picture (default: not counted)",
    )


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
