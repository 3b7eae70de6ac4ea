"""Prefect's server as a program: behind a door, its files for its owner alone, and started again if somebody kills it.

`python -m tasks.running.served PORT` is the keeper, which is small; the server itself is its child.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

SOON_S, MOST_IN_A_ROW = 20.0, 5  # a server that is killed this often within so short a life each time is given up


def keep(port: int) -> int:
    """Run the server until it ends by itself or this process is told to end; gives its exit code."""
    ending = False
    child: subprocess.Popen[bytes] | None = None

    def end(number: int, _: FrameType | None) -> None:
        nonlocal ending
        ending = True
        if child is not None:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    in_a_row = 0
    while True:
        began = time.monotonic()
        child = subprocess.Popen([sys.executable, "-m", "tasks.running.served", str(port), "serve"])
        if ending:
            child.terminate()
        code = child.wait()
        in_a_row = in_a_row + 1 if time.monotonic() - began < SOON_S else 1
        if ending or code >= 0 or in_a_row == MOST_IN_A_ROW:
            return code if code >= 0 else 128 - code
        print(f"the server was ended by {signal.Signals(-code).name}; it is started again", flush=True)


def serve(port: int) -> None:
    """Serve Prefect's API and pages, and reports, on the loopback interface, to its own pages and to those who have the key."""
    os.umask(0o077)
    import uvicorn
    from prefect.server.api.server import create_app

    from tasks.running.key import VARIABLE
    from tasks.running.reports import Reports
    from tinyllava_core.data.web.door import Door

    workspace = Path(os.environ["PREFECT_HOME"]).parent
    inside = Reports(create_app(), workspace, os.environ[VARIABLE], port)
    uvicorn.run(Door(inside), host="127.0.0.1", port=port, log_level="warning", lifespan="on")


if __name__ == "__main__":
    if sys.argv[2:] == ["serve"]:
        serve(int(sys.argv[1]))
    else:
        sys.exit(keep(int(sys.argv[1])))
