"""`tinyllava watch`: how a run stands, again and again, in the terminal; and its page in the browser meanwhile."""

from __future__ import annotations

import argparse
import time

from tinyllava_core.commands.arguments import add_workspace

HELP = "watch a run: its stages, curves, and when it will be done"
DESCRIPTION = "Shows how a run stands until it has ended; Ctrl-C leaves the run alone. With --page, its page too, which refreshes itself."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "run", nargs="?", default="latest", metavar="RUN", help="`latest` (default), a run's id, or its first letters"
    )
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (default: 2)")
    parser.add_argument("--once", action="store_true", help="show it once, and end")
    parser.add_argument("--page", action="store_true", help="write <workspace>/live/<run>/report.html at each look")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Look, until the run has ended."""
    from rich.console import Console
    from rich.live import Live

    from tinyllava_core.report.gather import gather_named, state_of
    from tinyllava_core.report.page import write_report
    from tinyllava_core.report.watching import screen

    console = Console()
    run_id, page, shown = gather_named(args.workspace, args.run).run_id, None, False
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            facts, state = gather_named(args.workspace, run_id), state_of(args.workspace, run_id)
            if args.page:
                page = args.workspace / "live" / run_id / "report.html"
                page.parent.mkdir(parents=True, exist_ok=True)
                write_report(facts, page, refresh_s=round(max(5, args.every)) if state == "Running" else None)
                if not shown:
                    console.print(f"page      {page}")
                    shown = True
            live.update(screen(facts, state), refresh=True)
            if args.once or state != "Running":
                return
            try:
                time.sleep(args.every)
            except KeyboardInterrupt:
                return
