"""`tinyllava show`: a planned record as the model reads it, token by token. It trains nothing."""

from __future__ import annotations

import argparse
import json

from tinyllava_core.commands.arguments import add_format, add_overrides, add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.show import show

HELP = "show a planned record as the model reads it: tokens, places of images, what is learned"
MARK = "|"  # between two tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a name (`tinyllava recipes`), or a path to a YAML file")
    parser.add_argument("--stage", help="a stage of the recipe (default: its last)")
    parser.add_argument(
        "--record", default="0", metavar="N", help="the N-th record that is trained on, from 0, or its id (default: 0)"
    )
    add_overrides(parser)
    add_workspace(parser)
    add_format(parser)


def act(args: argparse.Namespace) -> None:
    """Find the plan, and print one of its records. Raises BadInput if there is no plan, or no such record."""
    from tinyllava_core.data.plan.reading import Reader, planned
    from tinyllava_core.estimate.cached import find_plan
    from tinyllava_core.recipe import load, read_overrides

    recipe = load(args.recipe, read_overrides(args.set))
    if not recipe.stages():
        raise BadInput(f"recipe {recipe.name!r} trains nothing, so nothing is planned")
    stage = args.stage or recipe.stages()[-1]
    recipe.training(stage)
    plan = find_plan(args.workspace, recipe, stage)
    if plan is None:
        raise BadInput(
            f"{args.workspace}: no plan for stage {stage!r} of {args.recipe} with these settings; make one without a GPU: "
            f"python -m flows {args.recipe} --until-plan"
        )
    shards = json.loads((plan / "result.json").read_text(encoding="utf-8"))["inputs"]["shard"]
    one = planned(plan, args.workspace / "artifacts" / "shard" / shards, args.record)
    reading = Reader(recipe, stage).read(one.turns, one.sizes)
    if args.format == "table":
        place = f"step {one.step}, pack {one.pack}, slot {one.slot}"
        print(f"{recipe.name} {stage}: {one.record_id} of {one.source}, {place} of {one.num_records:,} records")
        print(f"{reading.told}\n")
    rows = [(piece.kind, len(piece.tokens), _line(piece.kind, piece.tokens)) for piece in reading.pieces]
    show(("", "tokens", f"as the tokenizer cuts them ({MARK})"), rows, args.format)


def _line(kind: str, tokens: tuple[str, ...]) -> str:
    """Write tokens on one line, blanks at their ends and line ends visible; an image's are all the same."""
    if kind == "image":
        return tokens[0]
    return MARK.join(token.replace("\n", "↵").replace("\t", "⇥").replace(" ", "·") for token in tokens)
