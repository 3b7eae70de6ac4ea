"""Faults that come in the midst of a run: signals, a second run, readers, a server that dies, somebody who cancels."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psutil

from benchmarks.torture.faults.place import Place, artifacts, ledger, same, well
from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.store import open_read_only

OTHER = ("--set", "sft.max_length=144")  # another plan of the same shards


def two_at_once(place: Place) -> str:
    """Two runs of one recipe; eight readers, and one that stays open, meanwhile."""
    workspace = place.workspace()
    _with_readers(workspace, [place.start(workspace) for _ in range(2)])
    place.is_calm(workspace)
    return "same"


def two_recipes_at_once(place: Place) -> str:
    """Two runs that share the most of what they make and differ in the end; eight readers meanwhile."""
    workspace, alone = place.workspace(), place.workspace()
    _with_readers(workspace, [place.start(workspace), place.start(workspace, words=OTHER)])
    well(*place.run(alone, words=OTHER))
    same(artifacts(workspace), place.calm | artifacts(alone))
    return "same"


def _with_readers(workspace: Path, runs: list[subprocess.Popen[str]]) -> None:
    held, num_read = None, 0
    while any(run.poll() is None for run in runs):
        with contextlib.suppress(BadInput):
            readers = [open_read_only(workspace) for _ in range(8)]
            held = held or open_read_only(workspace)
            counts = {reader.execute("SELECT count(*) FROM artifact").fetchall()[0] for reader in readers}
            num_read += len(counts) > 0
            for reader in readers:
                reader.close()
        time.sleep(0.2)
    for run in runs:
        well(run.returncode, run.communicate()[1])
    assert held is not None
    assert num_read > 3
    held.execute("SELECT count(*) FROM artifact").fetchall()
    held.close()


def a_signal(number: signal.Signals) -> Callable[[Place], str]:
    """Send a signal at a moment that chance finds; then give the same command again."""

    def sent(place: Place) -> str:
        workspace = place.workspace()
        process = place.start(workspace)
        some_way(place, workspace, process)
        process.send_signal(number)
        ended(process, number, workspace)
        well(*place.run(workspace))
        place.is_calm(workspace)
        return "same"

    sent.__doc__ = f"{number.name}, then the same command again."
    return sent


def kills_in_a_row(place: Place) -> str:
    """The run and all that it started are killed, the same command is killed again, four times; then it may end."""
    workspace = place.workspace()
    for _ in range(4):
        process = place.start(workspace)
        some_way(place, workspace, process)
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        process.communicate(timeout=120)
    well(*place.run(workspace))
    place.is_calm(workspace)
    return "same"


def on_another_number_of_ranks(place: Place) -> str:
    """Two ranks are ended by SIGTERM; one goes on. Every step once, and the losses of the calm run to rounding."""
    workspace = place.workspace()
    process = place.on_two_ranks.start(workspace)
    before = some_way(place, workspace, process)
    process.send_signal(signal.SIGTERM)
    ended(process, signal.SIGTERM, workspace)
    well(*place.run(workspace))
    (ours,), (theirs,) = (sorted(folder.glob("artifacts/sft/[0-9a-f]*")) for folder in (workspace, place.home / "calm"))
    found, calm = ledger(ours), ledger(theirs)
    assert [row["step"] for row in found] == list(range(len(calm)))
    for one, other in zip(found, calm, strict=True):
        assert (one["num_records"], one["num_tokens"]) == (other["num_records"], other["num_tokens"])
        assert abs(float(str(one["loss"])) - float(str(other["loss"]))) < 1e-2, (one, other)
    assert found[-1]["life"] == 1, f"it ended within {before} steps"
    return "every step once, the same losses to rounding"


def cancelled(place: Place) -> str:
    """Somebody cancels the run on Prefect's pages; then the same command again."""
    from prefect import get_client
    from prefect.states import Cancelling

    workspace = place.workspace()
    process = place.start(workspace)
    assert process.stdout is not None
    watch = next(line for line in process.stdout if line.startswith("watch "))
    (run,) = re.findall(r"[0-9a-f-]{36}", watch)
    some_way(place, workspace, process)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run), Cancelling(), force=True)
    ended(process, signal.SIGTERM, workspace)
    well(*place.run(workspace))
    place.is_calm(workspace)
    return "same"


def without_its_server(place: Place) -> str:
    """Prefect's server is killed under the run."""
    workspace = place.workspace()
    process = place.start(workspace)
    some_way(place, workspace, process)
    port = urlsplit(place.server.api_url).port
    for one in psutil.net_connections("tcp"):
        if one.status == "LISTEN" and one.laddr and one.laddr.port == port and one.pid is not None:
            psutil.Process(one.pid).kill()
    _, said = process.communicate(timeout=300)
    well(process.returncode, said)
    place.is_calm(workspace)
    return "same"


def some_way(place: Place, workspace: Path, process: subprocess.Popen[str], least: int = 2) -> int:
    """Wait until chance says so: a time into a run of data stages, a number of steps into a training -> which."""
    if place.before is None:
        time.sleep(place.chance.uniform(1, 1.2 * place.seconds))
        return 0
    steps, until = place.chance.randrange(least, 30), time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        ledgers = workspace.glob("artifacts/sft/.*.partial/steps.jsonl")
        if any(file.read_text().count("\n") >= steps for file in ledgers):
            break
        time.sleep(0.02)
    return steps


def ended(process: subprocess.Popen[str], number: signal.Signals, workspace: Path, within_s: float = 20) -> None:
    """Hold a run to an end by a signal: soon, without a traceback, and nothing that it started lives on."""
    _, said = process.communicate(timeout=120)
    assert process.returncode in (0, -number, 128 + number), f"exit code {process.returncode}: {said[-600:]}"
    assert "Traceback" not in said, said[-600:]
    until = time.monotonic() + within_s  # after SIGKILL of the run, its watchdog ends a training within a grace
    while left := _at_work(workspace):
        assert time.monotonic() < until, f"live on: {left}"
        time.sleep(0.2)


def _at_work(workspace: Path) -> list[str]:
    """Find the processes that name the workspace."""
    found = []
    for one in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(one.info["cmdline"] or ())
        if str(workspace) in words and one.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(words[-200:])
    return found
