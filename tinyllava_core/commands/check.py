"""`tinyllava check`: what a recipe will do and take, before any GPU is asked for. It trains nothing."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import (
    add_format,
    add_gpu,
    add_overrides,
    add_price,
    add_workspace,
    check_utilisation,
)
from tinyllava_core.commands.of_data.judge import MAX_TOKENS as JUDGE_TOKENS
from tinyllava_core.commands.of_data.recaption import MAX_TOKENS as RECAPTION_TOKENS
from tinyllava_core.errors import BadInput
from tinyllava_core.show import Row, show

if TYPE_CHECKING:
    from tinyllava_core.curate.asking import Prompt
    from tinyllava_core.curate.tariff import Tariff
    from tinyllava_core.estimate.stage import Load, StageEstimate
    from tinyllava_core.recipe import Recipe

HELP = "say what a recipe will train, on what, with how much memory and time, before it is run"
DESCRIPTION = (
    "Takes each stage's plan from the workspace; without one, expects what the manifests' counts and the lengths known of "
    "published data say, or a look at what lies here. It downloads nothing; --sample reads some texts of hubs' data sets; --plan makes the plans first, if all data is on this machine."
)


_Z95 = 1.96  # of the normal distribution, both sides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a name (`tinyllava recipes`), or a path to a YAML file")
    add_overrides(parser)
    add_workspace(parser)
    parser.add_argument("--plan", action="store_true", help="make the plans, if all data is on this machine")
    parser.add_argument(
        "--sample",
        action="store_true",
        help="read the texts of some 10,000 rows of each hub's data set that the recipe mixes",
    )
    add_gpu(parser)
    add_format(parser)
    asking = parser.add_argument_group("what asking a model about the sources would take")
    asking.add_argument(
        "--judge", type=Path, metavar="PROMPT", help="as `tinyllava data judge --ask NAME=PROMPT` does, of every record"
    )
    asking.add_argument(
        "--recaption", type=Path, metavar="PROMPT", help="as `tinyllava data recaption` does, of every picture"
    )
    asking.add_argument(
        "--max-tokens", type=int, metavar="N", help=f"of a reply (default: {JUDGE_TOKENS} and {RECAPTION_TOKENS})"
    )
    add_price(asking)


def act(args: argparse.Namespace) -> None:
    """Estimate every stage, and print all on one screen."""
    from tinyllava_core.data.plan.ready import missing_parts
    from tinyllava_core.estimate.cached import find_plan, is_here
    from tinyllava_core.estimate.gpus import gpu_row
    from tinyllava_core.estimate.sizes import unchecked
    from tinyllava_core.estimate.stage import estimate
    from tinyllava_core.evaluate.score.ready import faulty_benchmarks
    from tinyllava_core.recipe import load, read_overrides
    from tinyllava_core.settings.trained import check_something_to_train

    check_utilisation(args)
    prompts, tariff = _asked_for(args)
    gpu = gpu_row(args.gpu)
    recipe = load(args.recipe, read_overrides(args.set))
    for stage in recipe.stages():
        check_something_to_train(recipe.model_in(stage), recipe.training(stage), stage)
    plans = {stage: find_plan(args.workspace, recipe, stage) for stage in recipe.stages()}
    if args.plan and not all(plans.values()):
        if not is_here(recipe):
            raise BadInput(f"--plan: the data of {recipe.name} is not on this machine; a run downloads it")
        _make_plans(args.recipe, args.set, args.workspace)
        plans = {stage: find_plan(args.workspace, recipe, stage) for stage in recipe.stages()}
    with TemporaryDirectory() as folder:
        into = Path(folder) if args.sample else None
        found = [estimate(recipe, stage, plan, into) for stage, plan in plans.items()]
    rows = [*_data_rows(found), *_part_rows(found), *_cost_rows(found, recipe, gpu.peak, gpu.memory_gb, args)]
    rows += [row for word, prompt in prompts for row in _asking_rows(word, prompt, tariff, recipe, args.workspace)]
    if args.format == "table":
        print(f"recipe  {recipe.name}: {recipe.description}")
        for one in found:
            print(f"{one.stage:<15} {one.load.basis}")
        for line in _part_lines(missing_parts(recipe) if recipe.stages() else []):
            print(line)
        faults = faulty_benchmarks(recipe)
        for line in _lines("benchmarks", [str(fault) for fault in faults]):
            print(line)
        if names := unchecked(recipe.model):
            print(
                f"{'sizes':<15} {', '.join(names)}: from the tables, no config.json on this disk to hold them against"
            )
        print(f"{'this machine':<15} {_said_of_here(recipe, args, faults)}\n")
    show(("", *(one.stage for one in found)), rows, args.format)


def _said_of_here(recipe: Recipe, args: argparse.Namespace, faults: list[BadInput]) -> str:
    """Say in one line what a run downloads, and what it lacks here."""
    from tinyllava_core.estimate.here import lacks, to_download
    from tinyllava_core.room import in_words

    size, wrong = to_download(recipe), [what for what, _, _ in lacks(recipe, args.workspace)]
    wrong += ["benchmarks, as above"] if faults else []
    fetched = f"{in_words(size)} to download" if size else "nothing of a known size to download"
    asked = shlex.join(["tinyllava", "doctor", args.recipe, *(["--set", *args.set] if args.set else [])])
    return f"{fetched}; lacks {', '.join(wrong)}: `{asked}`" if wrong else f"{fetched}; lacks nothing"


def _part_lines(faults: list[BadInput]) -> list[str]:
    """Say what a run would stop at; what it would take can be told all the same. What no hub was asked about: one line."""
    from tinyllava_core.parts.hub import Unreached

    unknown = [fault.weights for fault in faults if isinstance(fault, Unreached)]
    told = [str(fault) for fault in faults if not isinstance(fault, Unreached)]
    told += [f"{', '.join(unknown)}: not on this disk, and no hub answers"] if unknown else []
    return _lines("parts", told)


def _lines(what: str, texts: list[str]) -> list[str]:
    lines = [wrap(text, 104, break_long_words=False, break_on_hyphens=False) for text in texts]
    return [f"{'' if number else what:<15} {line}" for some in lines for number, line in enumerate(some)]


def _make_plans(recipe: str, settings: list[str], workspace: Path) -> None:
    """Run the data stages in a process of their own, what they say on stderr. Raises BadInput if they fail."""
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "flows", recipe, *words, "--workspace", str(workspace), "--until-plan"]
    ran = subprocess.run(command, stdout=sys.stderr.fileno(), check=False)
    if ran.returncode != 0:
        raise BadInput(f"the data stages of {recipe} ended with {ran.returncode}; see above")


def _data_rows(found: list[StageEstimate]) -> list[Row]:
    loads = [one.load for one in found]
    return [
        ("records", *(f"{load.num_records:,}" for load in loads)),
        ("steps", *(f"{load.num_steps:,}" for load in loads)),
        ("tokens", *(_tokens(load) for load in loads)),
        ("- supervised", *(_count(load.num_supervised) for load in loads)),
        ("images", *(_count(load.num_images) for load in loads)),
        *(
            [("tiles", *(_count(load.num_tiles) for load in loads))]
            if any(load.num_tiles > load.num_images for load in loads)
            else []
        ),
        ("cut to max_length", *(_count(load.num_truncated) for load in loads)),
        *([("unusable by text", *(_unusable(load) for load in loads))] if any(load.unusable for load in loads) else []),
        ("voided", *("known with the plan" if load.voided is None else _reasons(load.voided) for load in loads)),
        ("packs of a step", *(f"{load.packs_a_step:.1f}, up to {load.longest_pack:,} tokens" for load in loads)),
        ("- ranks wait", *(f"{load.waiting_fraction:.1%}" for load in loads)),
    ]


def _tokens(load: Load) -> str:
    """Write the tokens, and how far the draw and what was looked at may be off; what the table's lengths are off by is not known."""
    if load.is_counted or not load.num_tokens:
        return _count(load.num_tokens)
    return f"{_count(load.num_tokens)} \N{PLUS-MINUS SIGN}{_Z95 * load.tokens_error / load.num_tokens:.1%} of the {'draw and sample' if load.unusable else 'draw'}"


def _unusable(load: Load) -> str:
    """Write how many records an inspection will drop for their texts, by the records that were looked at."""
    if load.unusable is None:
        return "known with the inspection"
    lost, error = load.unusable
    return (
        f"{lost:,.0f} \N{PLUS-MINUS SIGN}{_Z95 * error:,.0f} by a sample" if error > 1e-6 else f"{lost:,.0f} by a look"
    )


def _part_rows(found: list[StageEstimate]) -> list[Row]:
    rows: list[Row] = []
    for number, part in enumerate(found[0].parts):
        trained = [one.parts[number].num_trained for one in found]
        rows.append(
            (f"{part.part}, {part.num_parameters:,}", *(f"{count:,}" if count else "frozen" for count in trained))
        )
    totals = [sum(count.num_trained for count in one.parts) for one in found]
    return [*rows, ("trained", *(f"{total:,}" for total in totals))]


def _cost_rows(
    found: list[StageEstimate], recipe: Recipe, peak: float, memory_gb: float, args: argparse.Namespace
) -> list[Row]:
    launch, memories = recipe.launch, [one.memory for one in found]
    ranks = launch.processes * launch.nodes
    cut = f"ZeRO-{launch.zero_stage}" if launch.zero_stage else f"fsdp {launch.fsdp}" if launch.fsdp else "no ZeRO"
    state = [one.weights + one.copies + one.gradients + one.optimizer + one.buckets for one in memories]
    work = [one.activations + one.logits for one in memories]
    hours = [one.gpu_hours(peak, args.utilisation) for one in found]
    fits = ["" if one.total < 0.95e9 * memory_gb else f": more than {memory_gb:g}" for one in memories]
    return [
        (
            f"GB on each of {ranks} GPUs, {cut}",
            *(f"{_gb(one.total)}{fit}" for one, fit in zip(memories, fits, strict=True)),
        ),
        ("- weights, optimizer", *(_gb(value) for value in state)),
        ("- activations, logits", *(_gb(value) for value in work)),
        ("operations", *(f"{one.needed:.2g}" for one in found)),
        (f"{args.gpu}-hours at {args.utilisation:.0%}", *(_hours(value) for value in hours)),
        (f"- on {ranks} GPUs", *(f"{_hours(value / ranks)} h" for value in hours)),
    ]


def _asked_for(args: argparse.Namespace) -> tuple[list[tuple[str, Prompt]], Tariff]:
    """Read the prompts of what is to be priced. Raises BadInput for a prompt that cannot be asked, or a price of nothing."""
    from tinyllava_core.curate.asking import Prompt
    from tinyllava_core.curate.tariff import Tariff

    most = {"judge": JUDGE_TOKENS, "recaption": RECAPTION_TOKENS}
    prompts = [
        (word, Prompt.read(word, path, args.max_tokens or tokens))
        for word, tokens in most.items()
        if (path := getattr(args, word)) is not None
    ]
    if not prompts and (args.price or args.picture_tokens is not None or args.max_tokens is not None):
        raise BadInput(
            "--price, --picture-tokens and --max-tokens say what --judge or --recaption would cost; name a prompt file with one of those"
        )
    return prompts, Tariff.of(args.price, args.picture_tokens, args.max_tokens)


def _asking_rows(word: str, prompt: Prompt, tariff: Tariff, recipe: Recipe, workspace: Path) -> list[Row]:
    """Say what asking about each stage's whole sources takes: shares are of the mix, and judging comes before it."""
    from tinyllava_core.curate.priced import of_sources

    found = [
        of_sources(
            (entry.source for entry in recipe.training(stage).mix),
            prompt,
            workspace,
            tariff,
            each_picture=word == "recaption",
        )
        for stage in recipe.stages()
    ]
    costs = [one.cost(tariff) for one in found]
    return [
        (f"{word}: requests", *(f"{one.requests:,.0f}{'' if one.is_counted else ', expected'}" for one in found)),
        (f"{word}: tokens sent, about", *(f"{_count(one.sent)}{one.beside(tariff)}" for one in found)),
        (f"{word}: tokens back, at most", *(_count(one.back) for one in found)),
        *([(f"{word}: price, at most", *(f"{cost:,.2f}" for cost in costs))] if tariff.is_told else []),
    ]


def _reasons(voided: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in voided.items()) or "0"


def _count(value: float) -> str:
    if value < 1e6:
        return f"{round(value):,}"
    return f"{value / 1e9:,.2f} G" if value >= 1e9 else f"{value / 1e6:,.1f} M"


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f}"


def _hours(value: float) -> str:
    return f"{value:,.1f}" if value >= 0.05 else f"{value:.1g}"
