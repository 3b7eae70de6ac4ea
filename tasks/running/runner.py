"""Whether this machine has what a recipe wants its work done by: looked at before Prefect is imported, which takes seconds."""

from __future__ import annotations

import importlib.util

from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.gpus import has_gpu
from tinyllava_core.settings.launch import Launch


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
