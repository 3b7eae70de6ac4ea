"""What `make up` deploys: each deployment's flow is there under its name, and takes the parameters that are given to it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]


def test_the_pipeline_and_the_evaluation_of_a_checkpoint_are_deployed() -> None:
    assert {"full-pipeline", "evaluate"} <= {one["name"] for one in DEPLOYMENTS}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])
def test_its_flow_takes_its_parameters(deployment: dict[str, Any]) -> None:
    module, _, name = deployment["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(module), name)
    assert flow.name == "tinyllava"
    assert deployment["parameters"].keys() == inspect.signature(flow.fn).parameters.keys()
