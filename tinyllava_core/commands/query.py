"""`tinyllava query`: ask the lineage database."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyllava_core.commands.arguments import add_format, add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.show import Row, show

HELP = "ask the lineage database"
MORE = "values"
DESCRIPTION = "Without arguments: list the shipped queries."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("question", nargs="?", metavar="NAME|SQL", help='a shipped query, or "SELECT ..."')
    parser.add_argument("values", nargs="*", metavar="key=value", help="values of the query's parameters")
    parser.add_argument(
        "--page", type=Path, metavar="PAGE.md", help="answer every ```sql block of a page, in its place"
    )
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Answer the question, or list the shipped ones."""
    from tinyllava_core.lineage.query import ask, bind, confine, shipped

    if args.page is not None:
        from tinyllava_core.lineage.answered import answer_page

        print(f"{args.page}: {answer_page(args.page, args.workspace)} questions answered")
        return
    if args.question is None:
        rows: list[Row] = [
            (query.name, " ".join(p.name if p.required else f"[{p.name}]" for p in query.parameters), query.meaning)
            for query in shipped().values()
        ]
        show(("query", "parameters", "what it answers"), rows, args.format)
        return
    values = dict(map(_pair, args.values))
    bind(args.question, values)  # a fault in the question is told before the database is looked for

    from tinyllava_core.lineage.store import open_read_only

    with open_read_only(args.workspace) as connection:
        confine(connection, args.workspace)
        answer = ask(connection, args.question, values)
    show(answer.columns, answer.rows, args.format)


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise BadInput(f"{word!r}: expected key=value")
    return key, value
