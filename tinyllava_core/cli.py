"""The command `tinyllava`: ask the lineage, list recipes, start a run, ask a checkpoint about a picture.

It starts fast and imports neither Prefect nor torch: what needs them is another program, which takes this one's place.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from tinyllava_core.errors import BadInput

Row = tuple[Any, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 2, with one line on stderr, if the input is at fault."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and (args.command != "query" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.values += rest  # argparse gives up on `NAME --format csv key=value`
    try:
        args.act(args)
        sys.stdout.flush()
    except BadInput as error:
        print(f"tinyllava: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyllava", description="Train small vision-language models, and ask what went into them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    query = commands.add_parser(
        "query", help="ask the lineage database", description="Without arguments: list the shipped queries."
    )
    query.add_argument("question", nargs="?", metavar="NAME|SQL", help='a shipped query, or "SELECT ..."')
    query.add_argument("values", nargs="*", metavar="key=value", help="values of the query's parameters")
    query.add_argument("--format", choices=("table", "csv", "json"), default="table")
    _add_workspace(query)
    query.set_defaults(act=_query)

    recipes = commands.add_parser("recipes", help="list the recipes that come with the package")
    recipes.set_defaults(act=_recipes)

    run = commands.add_parser("run", help="run the whole pipeline on a recipe")
    run.add_argument("recipe", metavar="RECIPE", help="a name (`tinyllava recipes`), or a path to a YAML file")
    run.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value", help="set a field, as in sft.lr=1e-5"
    )
    _add_workspace(run)
    run.set_defaults(act=_run)

    ask = commands.add_parser("ask", help="ask a trained checkpoint about a picture")
    ask.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint folder")
    ask.add_argument("image", metavar="IMAGE", help="a picture file")
    ask.add_argument("question", metavar="QUESTION")
    ask.set_defaults(act=_ask)
    return parser


def _add_workspace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("TINYLLAVA_WORKSPACE") or "workspace"),
        help="where artifacts and lineage are (default: $TINYLLAVA_WORKSPACE, else ./workspace)",
    )


def _query(args: argparse.Namespace) -> None:
    from tinyllava_core.lineage.query import ask, bind, shipped

    if args.question is None:
        rows: list[Row] = [
            (query.name, " ".join(p.name if p.required else f"[{p.name}]" for p in query.parameters), query.meaning)
            for query in shipped().values()
        ]
        _show(("query", "parameters", "what it answers"), rows, args.format)
        return
    values = dict(map(_pair, args.values))
    bind(args.question, values)  # a fault in the question is told before the database is looked for

    from tinyllava_core.lineage.store import open_read_only

    with open_read_only(args.workspace) as connection:
        answer = ask(connection, args.question, values)
    _show(answer.columns, answer.rows, args.format)


def _recipes(args: argparse.Namespace) -> None:
    from tinyllava_core.recipe import known_recipes, load

    _show(("recipe", "description"), [(name, load(name).description) for name in known_recipes()], "table")


def _run(args: argparse.Namespace) -> None:
    import yaml

    from tinyllava_core.recipe import load

    overrides = {}
    for key, value in map(_pair, args.set):
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise BadInput(
                f"--set {key}={value}: the value is not YAML; expected a number, a word or a [list]"
            ) from None
    load(args.recipe, overrides)  # a fault in the input is told here, before anything heavy starts
    settings = [word for setting in args.set for word in ("--set", setting)]
    _become("flows", args.recipe, *settings, "--workspace", str(args.workspace))


def _ask(args: argparse.Namespace) -> None:
    _become("tinyllava_core.evaluate.ask", args.checkpoint, args.image, args.question)


def _become(module: str, *words: str) -> NoReturn:
    """Let `python -m module` take this process's place: its exit code, signals and terminal are then the user's."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *words])


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise BadInput(f"{word!r}: expected key=value")
    return key, value


def _show(columns: Sequence[str], rows: Sequence[Row], form: str) -> None:
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
    elif form == "json":
        objects = [dict(zip(columns, map(_json_value, row), strict=True)) for row in rows]
        print(json.dumps(objects, indent=1, ensure_ascii=False, default=str))
    elif sys.stdout.isatty():
        _show_rich(columns, rows)
    else:
        _show_plain(columns, rows)


def _show_rich(columns: Sequence[str], rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, caption=None if rows else "no rows")
    for number, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if _is_numeric(rows, number) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console().print(table)


def _show_plain(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Aligned columns, nothing cut off: for a pipe, a file, a page of documentation."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    right = [_is_numeric(rows, number) for number in range(len(columns))]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        print("  ".join(padded).rstrip())


def _is_numeric(rows: Sequence[Row], number: int) -> bool:
    kinds = {type(row[number]) for row in rows} - {type(None)}
    return bool(kinds) and all(issubclass(kind, (int, float, Decimal)) and kind is not bool for kind in kinds)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and 1e-4 <= abs(value) < 1e15:
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).split())


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
