"""What lies in the folder of a run, or in its workspace, configures no Prefect: a handler of its logs may be any program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HANDLERS = """
version: 1
disable_existing_loggers: false
handlers: {{x: {{"()": os.system, command: "touch {made}"}}}}
loggers: {{prefect: {{level: INFO, handlers: [x]}}}}
"""
ASK = """
{first}
import prefect.main
from prefect.logging.configuration import setup_logging
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_LEVEL, get_current_settings, temporary_settings
setup_logging()
with temporary_settings({{PREFECT_LOGGING_LEVEL: "ERROR"}}):
    print(PREFECT_API_URL.value(), get_current_settings().logging.config_path)
"""


def test_a_strangers_folder_or_workspace_configures_nothing(tmp_path: Path) -> None:
    made, logs = tmp_path / "made", tmp_path / "evil.yml"
    (tmp_path / "home").mkdir()
    logs.write_text(HANDLERS.format(made=made))
    toml = f'api.url = "http://evil/api"\nlogging.config_path = "{logs}"\n'
    lines = f'PREFECT_API_URL = "http://evil/api"\nPREFECT_LOGGING_CONFIG_PATH = "{logs}"\n'
    for place, text in {
        "prefect.toml": toml,
        ".env": lines,
        "pyproject.toml": f"[tool.prefect]\n{toml}",
        "home/profiles.toml": f'active = "mine"\n[profiles.mine]\n{lines}',
        "home/logging.yml": HANDLERS.format(made=made),
    }.items():
        (tmp_path / place).write_text(text)
    there = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    there |= {"PREFECT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path.cwd()), "PYTHONSAFEPATH": "1"}

    def asked(first: str) -> tuple[str, bool]:
        command = [sys.executable, "-c", ASK.format(first=first)]
        ran = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-1500:]
        assert ran.stderr == "", "not a warning either"
        was_made = made.exists()
        made.unlink(missing_ok=True)
        return ran.stdout.split()[0], was_made

    assert asked("from tasks.running.alone import stand_alone; stand_alone()") == ("None", False)
    assert asked("") == ("http://evil/api", True), "what this test puts there does nothing by itself"
