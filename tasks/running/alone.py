"""Prefect's settings are those that we set, and the person's environment: no file of the folder that a run is started in.

Prefect reads `.env`, prefect.toml and pyproject.toml of the working directory, and profiles.toml and logging.yml of its home, which is the
workspace's. A handler of logs may be any program; so whoever ran a recipe in a stranger's folder, or used a stranger's workspace, ran that.
"""

from __future__ import annotations

import contextlib
import functools
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NOWHERE = Path(os.sep)  # a working directory in which nobody but the machine's owner leaves files


def environment() -> dict[str, str]:
    """Give what any process with Prefect in it needs to be told, unless the person's environment says otherwise."""
    found = find_spec("prefect")
    assert found is not None
    assert found.origin is not None
    own = {
        "PREFECT_LOGGING_CONFIG_PATH": str(Path(found.origin).parent / "logging" / "logging.yml"),
        "PREFECT_PROFILES_PATH": f"{os.devnull}/profiles.toml",  # none
    }
    return own | {name: os.environ[name] for name in own if name in os.environ}


@functools.cache
def stand_alone() -> None:
    """Let Prefect, imported here for the first time, take settings from the environment of this process alone."""
    os.environ.update(environment())
    with contextlib.chdir(NOWHERE):
        from prefect.settings.base import PrefectBaseSettings
        from prefect.settings.sources import EnvFilterSettingsSource, ProfileSettingsTomlLoader
        from pydantic_settings import InitSettingsSource

    asked = PrefectBaseSettings.settings_customise_sources.__func__  # type: ignore[attr-defined]

    def without_files(cls: type[Any], *given: Any, **named: Any) -> tuple[Any, ...]:
        # what is given in code, the environment, Prefect's own default profile
        kept = (InitSettingsSource, EnvFilterSettingsSource, ProfileSettingsTomlLoader)
        return tuple(one for one in asked(cls, *given, **named) if type(one) in kept)

    # a warning for each kind of file that is not read any more
    PrefectBaseSettings._settings_warn_unused_config_keys = staticmethod(lambda *_: None)  # type: ignore[assignment]
    PrefectBaseSettings.settings_customise_sources = classmethod(without_files)  # type: ignore[assignment]
