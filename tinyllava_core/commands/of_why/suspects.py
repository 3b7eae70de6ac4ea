"""`tinyllava suspects`: the answers that a training found hardest, each within its group. It changes no data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_checkpoint, add_format, add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.show import show

if TYPE_CHECKING:
    from tinyllava_core.data.record.record import Turn
    from tinyllava_core.why.records import ShownRecord

HELP = "list the records with the highest losses, within their group: look at their labels first"
BY = ("source", "component")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_checkpoint(parser)
    parser.add_argument("--by", choices=BY, default="source", help="what makes a group (default: source)")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="answers of each group (default: 10)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write them with their pictures, as one HTML page")
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Ask, show, and write the page. Raises BadInput for a training that kept no losses."""
    from tinyllava_core.lineage.query import ask
    from tinyllava_core.lineage.store import open_read_only
    from tinyllava_core.why import records
    from tinyllava_core.why.found import trained
    from tinyllava_core.why.page import Card, Section, write_cards

    if args.top < 1:
        raise BadInput(f"--top {args.top}: expected 1 or more")
    training = trained(args.workspace, args.checkpoint)
    if not (training.folder / "record_losses.parquet").is_file():
        raise BadInput(
            f"{training.folder}: kept no record_losses.parquet: it was made before there was one; train it again"
        )
    with open_read_only(args.workspace) as connection:
        values = {"checkpoint": training.fingerprint, "by": args.by, "top": str(args.top)}
        found = ask(connection, "suspects", values)
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    shards = training.input_from("shard", args.workspace).folder
    shown = records.read(shards, (row["record_id"] for row in rows), pictures=args.page is not None)
    if args.page is None:
        table = [(*row.values(), *_words(shown[row["record_id"]], row["turn"])) for row in rows]
        show((*found.columns, "asked", "said"), table, args.format)
        return
    sections = [
        Section(
            heading=f"{group}: the hardest of {mine[0]['of_answers']:,} answers, median loss {mine[0]['median_loss']:.3f}",
            cards=[
                Card(
                    name=row["record_id"],
                    turns=_turn(shown[row["record_id"]], row["turn"]),
                    pictures=shown[row["record_id"]].pictures,
                    told=f"loss {row['loss']:.2f} a token, at step {row['step']}",
                )
                for row in mine
            ],
        )
        for group in dict.fromkeys(row["group"] for row in rows)
        if (mine := [row for row in rows if row["group"] == group])
    ]
    told = "High losses find wrong labels best of all that was tried, and rare right answers too: look before you drop."
    write_cards(f"Suspects of {training.stage} {training.fingerprint}", [told], sections, args.page)
    print(f"{args.page}: {len(rows)} answers of {len(sections)} groups")


def _turn(record: ShownRecord, turn: int) -> tuple[Turn, ...]:
    """Give one answer of a record with the question before it."""
    turns = record.turns
    answers = [place for place, one in enumerate(turns) if one.role == "assistant" and one.supervised]
    place = answers[turn] if turn < len(answers) else len(turns) - 1
    return tuple(turns[max(0, place - 1) : place + 1])


def _words(record: ShownRecord, turn: int) -> tuple[str, str]:
    from tinyllava_core.why.records import one_line

    asked, said = ("", *(one_line(one.text) for one in _turn(record, turn)))[-2:]
    return asked, said
