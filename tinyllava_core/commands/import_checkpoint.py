"""`tinyllava import`: turn another program's checkpoint into one of this package, in a process of its own."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import become

HELP = "make a checkpoint of TinyLLaVA Factory, LLaVA-1.5 or transformers' Llava one of this package; or a GGUF a language model"
_OPTIONS = {
    "vision": ("KEY", "row of the vision encoder, if its name in config.json is not a row's"),
    "vision-weights": ("FOLDER", "the encoder's weights, if they are not in the checkpoint"),
    "tokenizer": ("FOLDER", "a fast tokenizer, if the checkpoint has none"),
    "prompt": ("NAME", "the format it was trained in (default: what an export of this package says, else vicuna)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="the folder of the checkpoint, or a language model's .gguf file"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the new one is written")
    for option, (metavar, text) in _OPTIONS.items():
        parser.add_argument(f"--{option}", metavar=metavar, help=text)


def act(args: argparse.Namespace) -> None:
    """Let the importer take this process's place."""
    given = {option: getattr(args, option.replace("-", "_")) for option in _OPTIONS}
    words = [word for option, value in given.items() if value is not None for word in (f"--{option}", value)]
    become("tinyllava_core.model.foreign.importer", args.checkpoint, "--out", args.out, *words)
