"""`tinyllava data recaption`: a new caption of each picture of a source, by a model, as a source of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_workspace
from tinyllava_core.commands.of_data.judge import add_asking, check_asking

if TYPE_CHECKING:
    from tinyllava_core.curate.rows import Row

HELP = "have a model write a new caption of each picture of a source: a source of its own"
DESCRIPTION = (
    "The model that TINYLLAVA_JUDGE_URL and TINYLLAVA_JUDGE_MODEL name is shown each picture and asked by a prompt file. Writes captions.json and "
    "a manifest; each record says whose caption it is."
)
MAX_TOKENS = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="a manifest's name, or a path to one")
    parser.add_argument(
        "--prompt",
        type=Path,
        required=True,
        metavar="FILE",
        help="what to ask; {question} and {answer} are the record's",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where to write; its name is the new source's"
    )
    add_asking(parser, MAX_TOKENS)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Ask about each picture once, and write the source."""
    from tinyllava_core.curate import write
    from tinyllava_core.curate.asking import Prompt, ask, bounded
    from tinyllava_core.curate.rows import source_of
    from tinyllava_core.curate.tariff import Tariff
    from tinyllava_core.data.manifest.fields import check_name
    from tinyllava_core.data.manifest.manifest import load
    from tinyllava_core.paths import expanded

    write.check_place(args.out)
    check_asking(args)
    check_name(args.out.resolve().name, f"--out {args.out}")
    tariff = Tariff.of(args.price, args.picture_tokens, args.max_tokens)
    place = expanded(args.workspace).resolve()
    source = source_of(load(args.source), place)
    prompt = Prompt.read("caption", args.prompt, args.max_tokens)
    first: dict[str, Row] = {}
    for row in source.rows():
        if row.pictures:
            first.setdefault(row.picture_sha256[0], row)  # a picture is captioned once, however many records show it
    rows = list(first.values())

    def shown(row: Row) -> list[bytes]:
        return [source.jpeg(row.pictures[0])]

    judge = bounded(place, source.name, prompt, rows, shown, None if args.plan else args.at_most, tariff)
    if judge is None:
        return
    answers = ask(judge, prompt, rows, shown, args.at_once)
    path, count = write.write_captions(source, rows, answers, args.out)
    print(
        f"{path}: {count:,} captions of {len(rows):,} pictures of {source.name}; set its licence, then name it in a mix"
    )
