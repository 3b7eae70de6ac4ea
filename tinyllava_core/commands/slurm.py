"""`tinyllava slurm`: write the batch script that runs a recipe as one Slurm job. It submits nothing."""

from __future__ import annotations

import argparse
import re
import shlex
import sys

from tinyllava_core.commands.arguments import add_overrides, add_workspace

HELP = "write a Slurm batch script that runs the whole pipeline on a recipe"
DESCRIPTION = "The script goes to stdout: `tinyllava slurm base --nodes 2 > job.sh && sbatch job.sh`."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a name (`tinyllava recipes`), or a path to a YAML file")
    add_overrides(parser)
    add_workspace(parser)
    parser.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    parser.add_argument("--gpus", type=int, help="GPUs of each machine (default: the recipe's launch.processes)")
    parser.add_argument("--cpus", type=int, help="CPU cores of each machine (default: 8 for each GPU)")
    parser.add_argument("--hours", type=int, default=24, help="time limit (default: 24)")
    parser.add_argument("--partition", help="Slurm partition (default: the cluster's)")
    parser.add_argument("--account", help="Slurm account (default: yours)")


def act(args: argparse.Namespace) -> None:
    """Check the recipe with these machines, then print the script."""
    from tinyllava_core.recipe import load, read_overrides

    given = read_overrides(args.set)
    recipe = load(args.recipe, given)
    gpus = args.gpus or recipe.launch.processes
    machines: dict[str, object] = {"launch.launcher": recipe.launch.launcher, "launch.processes": gpus}
    if args.nodes > 1:  # DeepSpeed's own launcher needs ssh; torchrun under srun starts DeepSpeed's ranks as well
        machines |= {"launch.launcher": "torchrun", "launch.nodes": args.nodes, "launch.srun": True}
    elif recipe.launch.launcher == "plain" and gpus > 1:
        machines["launch.launcher"] = "torchrun"
    load(args.recipe, given | machines)  # a fault is told here, not at three in the morning
    sys.stdout.write(_script(args, recipe.name, gpus, machines))


def _script(args: argparse.Namespace, name: str, gpus: int, machines: dict[str, object]) -> str:
    wanted = {
        "job-name": f"tinyllava-{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}",
        "nodes": args.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": gpus,
        "cpus-per-task": args.cpus or 8 * gpus,
        "time": f"{args.hours}:00:00",
        "partition": args.partition,
        "account": args.account,
        "output": "tinyllava-%j.log",
        "signal": "B:TERM@300",  # five minutes before the limit: the training saves its state
        "requeue": "",
        "open-mode": "append",
    }
    lines = [
        f"#SBATCH --{key}{f'={value}' if value != '' else ''}" for key, value in wanted.items() if value is not None
    ]
    settings = [
        *args.set,
        *(f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in machines.items()),
    ]
    command = ["python", "-m", "flows", args.recipe, "--workspace", str(args.workspace), "--set", *settings]
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            f"# The whole pipeline on the recipe {name!r}. The workspace must lie on a file system that every node sees.",
            "# Submitted again, or requeued, it goes on where it was.",
            *lines,
            "",
            "set -uo pipefail",
            "# Slurm's signal reaches this shell alone: hand it on to the run, and wait until its state is saved.",
            "trap 'kill -TERM \"$run\" 2>/dev/null' TERM",
            f"{shlex.join(command)} &",
            "run=$!",
            'wait "$run"; code=$?',
            'while kill -0 "$run" 2>/dev/null; do wait "$run"; code=$?; done',
            'exit "$code"',
            "",
        ]
    )
