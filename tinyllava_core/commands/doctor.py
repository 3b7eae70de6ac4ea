"""`tinyllava doctor`: what this machine has for a run, and what is missing. It imports none of the heavy packages."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import itertools
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_format, add_overrides, add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.show import Row, show

if TYPE_CHECKING:
    from tinyllava_core.recipe import Recipe

HELP = "say what this machine has for a run: packages, GPUs, disk, ports, credentials"
PACKAGES = ("prefect", "torch", "transformers", "duckdb", "deepspeed")
OPTIONAL = {  # module -> what it is for
    "flash_attn": "packed attention by FlashAttention; without it: torch's own",
    "bitsandbytes": "lora.quantize",
    "wandb": "watch.loggers: [wandb]",
    "trackio": "watch.loggers: [trackio]",
    "s3fs": "s3:// paths",
}
HARMFUL = {  # package -> what it does where it is installed
    "dataclasses": "img2dataset asks for this back-port, which can shadow Python's own in servers that Prefect starts: pip uninstall dataclasses"
}
CREDENTIALS = {  # variable -> what needs it; values are never shown
    "TINYLLAVA_JUDGE_URL": "judged benchmarks",
    "TINYLLAVA_JUDGE_MODEL": "judged benchmarks",
    "TINYLLAVA_JUDGE_KEY": "a judge that wants a key",
    "HF_TOKEN": "gated weights and data of the hub",
    "WANDB_API_KEY": "wandb online",
}
PORTS = {4200: "Prefect's pages (`make up`)", 7860: "tinyllava chat"}
LOW_GB = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="say also what this recipe needs of the machine")
    add_overrides(parser)
    add_format(parser)
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Look, and show it: ok, or what to do."""
    if args.recipe is None:
        asked = _credentials()
    else:
        from tinyllava_core.estimate.here import lacks
        from tinyllava_core.evaluate.score.ready import faulty_benchmarks
        from tinyllava_core.recipe import load, read_overrides

        recipe = load(args.recipe, read_overrides(args.set))
        faults = (("benchmark", "cannot be scored", str(fault)) for fault in faulty_benchmarks(recipe))
        asked = itertools.chain(_needed(recipe), lacks(recipe, args.workspace), faults)
    rows = [*_programs(), *_gpus(), *_place(args.workspace), *_ports(), *asked]
    show(("what", "found", "advice"), rows, args.format)


def _programs() -> Iterator[Row]:
    yield "python", platform.python_version(), ""
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name), ""
        except importlib.metadata.PackageNotFoundError:
            yield name, "missing", "install this package again: it depends on it"
    for name, harm in HARMFUL.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name), harm
    for module, use in OPTIONAL.items():
        yield module, "there" if importlib.util.find_spec(module) else "not installed", use


def _gpus() -> Iterator[Row]:
    if shutil.which("nvidia-smi") is None:
        yield "GPU", "none", "runs on the CPU: enough for the toy world; launch.device: cuda would be refused"
        return
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    for line in ran.stdout.splitlines() if ran.returncode == 0 else ():
        yield "GPU", line.strip(), ""
    if ran.returncode != 0:
        yield "GPU", "nvidia-smi fails", " ".join((ran.stderr or ran.stdout).split())[:120]


def _place(workspace: Path) -> Iterator[Row]:
    from tinyllava_core.artifact import check_workspace
    from tinyllava_core.room import there

    try:
        check_workspace(workspace)
    except BadInput as error:
        yield "workspace", str(workspace), str(error)
        return
    place = workspace.expanduser().absolute()
    free = shutil.disk_usage(there(place)).free / 1e9
    yield "workspace", str(place), "" if place.exists() else "made by the first run"
    yield "disk", f"{free:,.0f} GB free", "" if free > LOW_GB else "little; `tinyllava gc`, or another --workspace"


def _ports() -> Iterator[Row]:
    for port, use in PORTS.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        yield f"port {port}", "in use" if taken else "free", use


def _credentials() -> Iterator[Row]:
    for variable, use in CREDENTIALS.items():
        yield variable, _set(variable), use


def _needed(recipe: Recipe) -> Iterator[Row]:
    """Say of each credential that the recipe needs whether it is set, never its value: (variable, found, what needs it)."""
    from tinyllava_core.data.manifest.manifest import load
    from tinyllava_core.estimate.here import manifests_of
    from tinyllava_core.evaluate.score.benchmarks import benchmark

    for name in recipe.evaluate.benchmarks:
        manifest = load(name)
        if manifest.scorer and benchmark(manifest.scorer).variant(manifest.variant).judged:
            for variable in ("TINYLLAVA_JUDGE_URL", "TINYLLAVA_JUDGE_MODEL"):
                yield variable, _set(variable), f"{manifest.name} is scored by a judge"
    if "wandb" in recipe.watch.loggers and os.environ.get("WANDB_MODE") != "offline":
        yield "WANDB_API_KEY", _set("WANDB_API_KEY"), "watch.loggers: [wandb]; none is needed with WANDB_MODE=offline"
    if any(place.startswith("hub://") for manifest in manifests_of(recipe) for place in manifest.urls()):
        yield "HF_TOKEN", _set("HF_TOKEN"), "data of the hub, where its owner wants to be asked"


def _set(variable: str) -> str:
    return "set" if os.environ.get(variable) else "not set"
