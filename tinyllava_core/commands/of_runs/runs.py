"""`tinyllava runs`: every run of a workspace, how it stands, and what one that is not over is at."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_format, add_workspace
from tinyllava_core.show import show

HELP = "list the runs: running, killed, or how they ended"
SQL = """
SELECT run_id, recipe, state, started_at, ended_at, at_stage, last_step, round(last_loss, 4) AS last_loss
FROM run_state ORDER BY started_at DESC
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """List them, the newest first."""
    from tinyllava_core.lineage.query import ask
    from tinyllava_core.lineage.running import tell_killed
    from tinyllava_core.lineage.store import open_read_only, publish

    if tell_killed(args.workspace):
        publish(args.workspace)
    with open_read_only(args.workspace) as connection:
        answer = ask(connection, SQL, {})
    show(answer.columns, answer.rows, args.format)
