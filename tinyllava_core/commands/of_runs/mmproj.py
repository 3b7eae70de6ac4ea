"""`tinyllava mmproj`: the half of a model that llama.cpp's converter does not write, in a process of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyllava_core.commands.arguments import become

HELP = "write encoder and connector of an exported Llava as llama.cpp reads them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="what `export=hf-llava` or `vllm-llava` wrote")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("mmproj.gguf"), help="(default: %(default)s)")


def act(args: argparse.Namespace) -> None:
    """Let the writer take this process's place."""
    become("tinyllava_core.export.mmproj", str(args.folder), str(args.out))
