"""`tinyllava why`: one answer, the records that pull for and against it, and how far to trust that."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_checkpoint, add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.show import show

if TYPE_CHECKING:
    from tinyllava_core.artifact import Artifact
    from tinyllava_core.why.said import Why

HELP = "show which records pull for and against an answer, and what retraining says to that"
MORE = "question"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_checkpoint(parser)
    parser.add_argument("--benchmark", required=True, metavar="NAME")
    parser.add_argument("--question", required=True, nargs="+", metavar="ID", help="ids of its questions")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="records at either end (default: 5)")
    parser.add_argument(
        "--check", type=int, metavar="K", help="train again without the first K records, and without K random ones"
    )
    parser.add_argument(
        "--orders", type=int, default=2, metavar="N", help="--check: orders of the records (default: 2)"
    )
    parser.add_argument("--draws", type=int, default=5, metavar="N", help="--check: random sets (default: 5)")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Check where it is asked for, then show. Raises BadInput where the checkpoint has no store, or not this question."""
    from tinyllava_core.why.found import checks_of, store_of, trained
    from tinyllava_core.why.said import why

    if args.top < 1 or args.orders < 1 or args.draws < 1 or (args.check is not None and args.check < 1):
        raise BadInput("--top, --check, --orders and --draws: expected 1 or more")
    training = trained(args.workspace, args.checkpoint)
    store = store_of(args.workspace, training)
    for question in args.question:
        why(store, [], args.benchmark, question, args.top)  # a fault of the question, before anything is trained
    if args.check is not None:
        asked = {
            "questions": [[args.benchmark, question] for question in args.question],
            "layers": store.manifest()["spec"]["layers"],
            "size": args.check,
            "orders": args.orders,
            "draws": args.draws,
        }
        words = ["flows", training.fingerprint, "--attribute", json.dumps(asked), "--workspace", str(args.workspace)]
        if subprocess.run([sys.executable, "-m", *words], check=False).returncode:
            raise BadInput("the check did not come to its end; the same command goes on from there")
    for question in args.question:
        _show(args, training, store, why(store, checks_of(args.workspace, store), args.benchmark, question, args.top))


def _show(args: argparse.Namespace, training: Artifact, store: Artifact, found: Why) -> None:
    """Print one answer with its nearest records, and write its page."""
    from tinyllava_core.data.record.record import Turn
    from tinyllava_core.why import records
    from tinyllava_core.why.page import Card, Section, write_cards
    from tinyllava_core.why.said import NOT_A_CAUSE, page_of, picture_of

    right = {True: "right", False: "wrong", None: "the right answer is not public"}[found.was_right]
    head = f"{found.benchmark} {found.question_id}: {' '.join(found.text.split())} -> {found.answer!r} ({right})"
    print(f"{head}\n" + "".join(f"  {sentence}\n" for sentence in (*found.checked, NOT_A_CAUSE)))
    shards = training.input_from("shard", args.workspace).folder
    ends = {"Pull for it": found.pulls_for, "Pull against it": found.pulls_against}
    shown = records.read(shards, (pull.record_id for pulls in ends.values() for pull in pulls), pictures=True)
    show(
        ("rank", "record", "cosine", "kernel", "asked", "said"),
        [
            (pull.rank, pull.record_id, pull.cosine, pull.kernel, record.asked, record.said)
            for pulls in ends.values()
            for pull in pulls
            if (record := shown[pull.record_id])
        ],
    )
    picture = picture_of(store, args.workspace, found.benchmark, found.question_id)
    turns = (Turn(role="user", text=found.text), Turn(role="assistant", text=found.answer))
    card = Card(name=found.question_id, turns=turns, pictures=(picture,) if picture else (), told=right)
    sections = [Section(heading="The answer", cards=[card])]
    for heading, pulls in ends.items():
        cards = [
            Card(
                name=pull.record_id,
                turns=shown[pull.record_id].turns,
                pictures=shown[pull.record_id].pictures,
                told=f"rank {pull.rank}, cosine {pull.cosine:.3f}",
            )
            for pull in pulls
        ]
        sections.append(Section(heading=heading, cards=cards))
    out = page_of(args.workspace, training.fingerprint, found.benchmark, found.question_id)
    write_cards(f"Why {found.answer!r}?", (head, *found.checked, NOT_A_CAUSE), sections, out)
    print(f"page  {out}\n")
