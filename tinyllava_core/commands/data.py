"""`tinyllava data`: look at data, before a run and after it. Each of its words has a file of its own, one row here."""

from __future__ import annotations

import argparse
from types import ModuleType

from tinyllava_core.commands.arguments import told
from tinyllava_core.commands.of_data import diff, files, judge, lint, listed, preview, recaption, stats

HELP = "list, check and look at the data that manifests name"
WORDS: dict[str, ModuleType] = {  # word -> HELP, add_arguments(parser), act(args)
    "list": listed,
    "lint": lint,
    "files": files,
    "preview": preview,
    "stats": stats,
    "diff": diff,
    "judge": judge,
    "recaption": recaption,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes: one of its words, and what that takes."""
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
    for word, module in WORDS.items():
        module.add_arguments(words.add_parser(word, **told(module)))


def act(args: argparse.Namespace) -> None:
    """Do what the word says."""
    WORDS[args.word].act(args)
