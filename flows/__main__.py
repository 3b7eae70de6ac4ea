"""Run the whole pipeline from one command: `python -m flows RECIPE [--set key=value ...] [--workspace DIR]`.

It needs no server: it starts one for itself unless one answers, or unless all is made already. The story it runs is in
full_pipeline.py. What takes long to import is imported once the first line is on the screen.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from tinyllava_core.artifact import check_workspace
from tinyllava_core.errors import BadInput, Parser
from tinyllava_core.recipe import load, read_overrides

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tasks.report import Outcome

PIPELINE, PLANS, STUDY = "flows.full_pipeline:full_pipeline", "flows.plans:plans", "flows.study:study"
_WIDEST = 1000  # columns
ATTRIBUTION, MIXES = "flows.attribution:attribution", "flows.mixes:mixes"
# Prefect's own talk stays out of the console, ours goes there and to Prefect's pages.
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "tinyllava",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def main(arguments: Sequence[str]) -> int:
    """Run the pipeline. Exit code 2 if the input is at fault (one line on stderr), 1 if anything else is."""
    parser = Parser(prog="python -m flows", description="Run the whole pipeline on a recipe.")
    parser.add_argument("recipe", metavar="RECIPE", help="a name in tinyllava_core/recipes, or a path to a YAML file")
    parser.add_argument("--study", action="store_true", help="RECIPE is a study: run every variant of its grid")
    parser.add_argument("--halving", action="store_true", help="with --study: cut variants by their held-out loss")
    parser.add_argument("--mixes", action="store_true", help="RECIPE is a study: search the mixes that it names")
    parser.add_argument(
        "--attribute", metavar="JSON", help="RECIPE is a checkpoint: keep what ties its answers to its records, so"
    )
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value", help="set a field, as in sft.lr=1e-5"
    )
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("TINYLLAVA_WORKSPACE") or "workspace"),
        help="folder of all artifacts (default: $TINYLLAVA_WORKSPACE, else ./workspace)",
    )
    parser.add_argument(
        "--until-plan", action="store_true", help="stop when every training stage is planned: no GPU is needed"
    )
    try:
        given = parser.parse_args(arguments)
        check_workspace(given.workspace)
        if given.halving and not given.study:
            raise BadInput("--halving is for a study; give --study with it")
        if (given.study or given.mixes) and given.until_plan:
            raise BadInput("--until-plan is for one recipe, not for a study; give its recipe without --study")
        if given.attribute is not None:
            run_attribution(given.recipe, json.loads(given.attribute), given.workspace)
        elif given.mixes:
            run_mixes(given.recipe, read_overrides(given.set), given.workspace)
        elif given.study:
            run_study(given.recipe, read_overrides(given.set), given.workspace, given.halving)
        else:
            run(given.recipe, read_overrides(given.set), given.workspace, given.until_plan)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"stopped by {stopped.signal.name}; the same command goes on from here", file=sys.stderr)
        return 128 + stopped.signal
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES):
            print(
                f"error: {error.filename}: {error.strerror}; with the right to it, the same command goes on",
                file=sys.stderr,
            )
            return 2
        # A job's failure brings the end of its own log, and a server's says all there is.
        if type(error).__name__ != "JobFailed" and not (isinstance(error, ConnectionError) and error.errno is None):
            traceback.print_exc()
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


class Stopped(BaseException):
    """Someone ends this run. Not KeyboardInterrupt, for which Python may make up an exit code of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def stop(number: int, _: FrameType | None) -> NoReturn:
    """Handle a signal: leave every block on the way out, and with it every process that was started there."""
    raise Stopped(number)


def run(name: str, overrides: dict[str, Any], workspace: Path, until_plan: bool = False) -> None:
    """Check the input, run the flow, print the scores. Raises BadInput before anything heavy starts, where it can."""
    recipe = load(name, overrides)
    say(f"recipe    {recipe.name}: {recipe.description}")
    from tasks.running.runner import check_runner
    from tasks.source import check_recipe

    check_recipe(recipe, to_train=not until_plan)
    check_runner(recipe.launch)
    outcome = tell(PLANS if until_plan else PIPELINE, workspace, name, overrides)
    if outcome is None:
        return
    if outcome.scores:
        from tasks.running.progress import CONSOLE

        print_whole(CONSOLE, score_table(outcome))
    print(f"model     {outcome.checkpoint}")
    print(f"report    {outcome.report}")
    print(f"lineage   {outcome.lineage}, ask it: tinyllava query --workspace {workspace}")
    if not outcome.scores:
        print(f"next      tinyllava ask latest PICTURE QUESTION --workspace {workspace}")
        print(f"          tinyllava evaluate latest BENCHMARK --workspace {workspace}")


def run_study(name: str, overrides: dict[str, Any], workspace: Path, halving: bool = False) -> None:
    """Check every recipe of the study, run them all. Raises BadInput before anything heavy starts."""
    from tasks.of_study.variants import runs

    planned = runs(name, overrides, halving)
    say(f"study     {name}: {len(planned)} runs, {', '.join(dict.fromkeys(run.variant for run in planned))}")
    tell(STUDY, workspace, name, overrides, halving=halving)


def run_attribution(checkpoint: str, asked: dict[str, Any], workspace: Path) -> None:
    """Make the store of a checkpoint, and its checks. Raises BadInput before anything heavy starts."""
    tell(ATTRIBUTION, workspace, checkpoint, **asked)


def run_mixes(name: str, overrides: dict[str, Any], workspace: Path) -> None:
    """Check the recipe of a study, and search its mixes. Raises BadInput before anything heavy starts."""
    from tasks.of_study.variants import runs

    runs(name, overrides)
    tell(MIXES, workspace, name, overrides)


def tell(story: str, workspace: Path, *given: Any, **named: Any) -> Any:
    """Run a flow, MODULE:NAME, on Prefect's pages; plainly, in a third of the time, where all that it makes is there."""
    from tasks.running.alive import home
    from tasks.running.alone import stand_alone
    from tasks.running.server import api, offered

    os.environ.setdefault("PREFECT_HOME", str(home(workspace)))
    home(workspace).mkdir(parents=True, exist_ok=True)
    os.environ.update(SETTINGS)
    stand_alone()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    named["workspace"] = str(workspace)
    is_new = not (workspace.expanduser() / "artifacts").is_dir()
    if story in (PIPELINE, PLANS) and not is_new and offered(workspace, lambda _: None) is None:
        from tasks.run import is_all_made

        flow = resolve_name(story)
        if is_all_made(lambda: flow.fn(*given, **named)):
            logging.getLogger().addHandler(Lines())
            say("watch     nothing to watch: all is made")
            return flow.fn(*given, **named)
    with api(workspace, say):
        logging.getLogger().addHandler(Lines())
        logging.raiseExceptions = False  # a log that Prefect's server does not take is no news for the console
        return resolve_name(story)(*given, **named)


def say(text: str) -> None:
    """Print a line at once, wherever it goes."""
    print(text, flush=True)


def score_table(outcome: Outcome) -> Table:
    """Lay out the scores, the blind baseline beside each."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    rows = outcome.score_table()
    for number, column in enumerate(rows[0] if rows else ()):
        table.add_column(column, justify="left" if number < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    return table


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as it is where that is no terminal: rich would cut numbers to the 80 columns of a log file."""
    if console.is_terminal:
        console.print(table)
        return
    wide = console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    type(console)(file=console.file, width=max(wide, console.width)).print(table)


class Lines(logging.Handler):
    """Prints our own lines, and the warnings of others than Prefect, on the console that also draws the bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        ours = record.name == "tinyllava"
        if ours or (record.levelno >= logging.WARNING and not record.name.startswith("prefect")):
            from tasks.running.progress import CONSOLE

            CONSOLE.print(self.format(record), markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
