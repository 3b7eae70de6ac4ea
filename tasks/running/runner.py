"""Whether what a recipe wants its parts done by is installed: looked at before Prefect is imported, which takes seconds."""

from __future__ import annotations

import importlib.util

from tinyllava_core.errors import BadInput
from tinyllava_core.settings.launch import Launch


def check_runner(launch: Launch) -> None:
    """Raise BadInput if the package that `launch.data_runner` needs is not installed."""
    package = f"prefect_{launch.data_runner}"
    if launch.data_runner != "local" and importlib.util.find_spec(package) is None:
        raise BadInput(
            f"launch.data_runner: {launch.data_runner} needs the package {package.replace('_', '-')}, which is not "
            f"installed: pip install 'tinyllava-pipelines[{launch.data_runner}]'"
        )
