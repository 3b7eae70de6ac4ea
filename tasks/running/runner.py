"""Whether this machine has what a recipe wants its work done by: looked at before Prefect is imported, which takes seconds."""

from __future__ import annotations

import importlib.util

from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.gpus import has_gpu
from tinyllava_core.settings.launch import Launch
from tinyllava_core.workers import num_cpus


def check_processes(launch: Launch) -> None:
    """Raise BadInput if a training would start more processes than this machine, which has no GPU, has cores. `device: cpu` asks for it."""
    if launch.device != "auto" or launch.nodes > 1 or has_gpu() or launch.processes <= num_cpus():
        return
    alone = {"launcher": "plain", "processes": 1, "zero_stage": None, "fsdp": None, "offload": None}
    words = " ".join(
        f"launch.{key}={'null' if value is None else value}"
        for key, value in alone.items()
        if getattr(launch, key) != value
    )
    raise BadInput(
        f"launch: {launch.processes} processes, and this machine has {num_cpus()} cores and no GPU; run it where the GPUs are, "
        f"or, to try it here: --set {words}"
    )


def check_runner(launch: Launch) -> None:
    """Raise BadInput if this machine lacks the GPU that `launch.device` wants, or the package that `launch.data_runner` needs."""
    if launch.device == "cuda" and launch.nodes == 1 and not has_gpu():
        raise BadInput(
            "launch.device is cuda, and this machine has no GPU; set launch.device to auto, or run it elsewhere"
        )
    package = f"prefect_{launch.data_runner}"
    if launch.data_runner != "local" and importlib.util.find_spec(package) is None:
        raise BadInput(
            f"launch.data_runner: {launch.data_runner} needs the package {package.replace('_', '-')}, which is not "
            f"installed: pip install 'tinyllava-pipelines[{launch.data_runner}]'"
        )
