"""Another Prefect: the toy pipeline on a copy of the workspace, with one setting changed; said is what became of each stage."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import duckdb

STAGES = """
    SELECT stage, name, fingerprint, made
    FROM stage
    WHERE run_id = (SELECT run_id FROM run ORDER BY started_at DESC LIMIT 1)
    ORDER BY ALL
"""


def main(given: dict) -> dict:
    """Run it with a server of its own, and ask the lineage."""
    home = Path.cwd() / "workspace"
    shutil.copytree(given["workspace"], home, symlinks=True)
    words = ["toy", "--workspace", str(home), "--set", *given["settings"]]
    environment = os.environ | {"PREFECT_HOME": str(Path.cwd() / "prefect")}
    ran = subprocess.run(
        [sys.executable, "-m", "flows", *words], env=environment, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit((ran.stderr.strip() or ran.stdout.strip() or "nothing was said").splitlines()[-1])
    with duckdb.connect(home / "lineage.duckdb", read_only=True) as connection:
        said = connection.execute(STAGES).fetchall()
    state = {"state": "Completed" if "report " in ran.stdout else ran.stdout[-200:]}
    return {"version": version("prefect"), "said": [*map(list, said), state]}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
