"""`tinyllava data lint`: check manifests without fetching anything; one line per fault, exit code 2 if there is one."""

from __future__ import annotations

import argparse

from tinyllava_core.commands.arguments import add_format
from tinyllava_core.errors import BadInput
from tinyllava_core.show import show

HELP = "check manifests, all or some: one line per fault"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "name", nargs="*", metavar="NAME", help="names or paths of manifests (default: all shipped ones)"
    )
    add_format(parser)


def act(args: argparse.Namespace) -> None:
    """Check them. Raises BadInput, after the table of faults, if there is one."""
    from tinyllava_core.data.manifest.lint import lint
    from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS

    checked, faults = lint(args.name or None, scorers=BENCHMARKS)
    if faults:
        show(("manifest", "fault"), [(fault.manifest, fault.what) for fault in faults], args.format)
        raise BadInput(f"{len(faults)} fault{'s' * (len(faults) > 1)} in {checked} manifest{'s' * (checked > 1)}")
    print(f"{checked} manifests, no fault")
