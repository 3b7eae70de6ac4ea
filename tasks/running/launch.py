"""Start a GPU job as processes, show its progress, and end all of them on cancel, timeout or failure. It trains nothing.

All output goes to `<out>/log.txt`, not through a pipe: a job that saves its work on SIGTERM may still print after this
process is gone. While it runs, the log holds its progress lines too; they are taken out when it has ended well.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from prefect.context import TaskRunContext
from prefect.exceptions import TerminationSignal

from tasks.running.alive import is_cancelled
from tasks.running.progress import LOG, showing
from tasks.running.server import free_port
from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.job import (
    PROGRESS_MARK,
    AttributeJob,
    EvaluateJob,
    ExportJob,
    FeaturesJob,
    MergeJob,
    Progress,
    RetrainJob,
    TrainJob,
)
from tinyllava_core.process_tree import GRACE_S, plant
from tinyllava_core.room import disk_full, has_none
from tinyllava_core.settings.launch import Launch

Job = TrainJob | FeaturesJob | EvaluateJob | AttributeJob | RetrainJob | MergeJob | ExportJob
POLL_S = 0.2  # how often the log is read
CANCEL_EVERY_S = 10.0  # how often Prefect is asked whether the run was cancelled (a dead worker cannot tell us)
# A thread that waits must sleep, not spin: beside any other work, two spinning threads on two cores made a training step of
# 0.3 s last 4.5 s. And memory is kept, not given back to the system and cleared again at every step. A GPU job does not care.
ON_CPU = {"OMP_WAIT_POLICY": "passive", "MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
TAIL = 20  # lines of the log that a failure shows


class JobFailed(RuntimeError):
    """A job's process ended badly, or was ended; the text says how and shows the end of its log."""


def launch(job: Job, how: Launch, title: str, *more: Job) -> None:
    """Run a job to its end. Raises BadInput if it blames the user's input, JobFailed if it fails or takes too long.

    `more`: jobs of the same kind that the same process does after it; the log is the first one's.
    """
    jobs = (job, *more)
    for one in jobs:
        one.write(one.out / "JOB.yaml")
    words = command(job.MODULE, [one.out / "JOB.yaml" for one in jobs], how)
    if how.rendezvous:
        LOG.info("%s waits for %d more machines; start there: %s", title, how.nodes - 1, shlex.join(words))
    supervise(words, job.out / "log.txt", title, how)


def command(module: str, files: Sequence[Path], how: Launch) -> list[str]:
    """Give the command line of a job: one process, or a launcher that starts one per GPU."""
    python = [sys.executable, "-m"]
    if how.launcher == "torchrun":
        python += ["torch.distributed.run", *_meeting(how), f"--nproc-per-node={how.processes}", "-m"]
    elif how.launcher == "deepspeed":
        python += ["deepspeed.launcher.runner", *([f"--hostfile={how.hostfile}"] if how.hostfile else [])]
        python += [*_gpus(how), f"--master_port={free_port()}"]
        python += ["--no_local_rank", "--module"]
    srun = ["srun", f"--nodes={how.nodes}", f"--ntasks={how.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    return [*(srun if how.srun else []), *python, module, *map(str, files)]


def _gpus(how: Launch) -> list[str]:
    """Say which GPUs DeepSpeed's launcher shall use: told a number, it takes the first, whatever CUDA_VISIBLE_DEVICES says.

    Raises BadInput where that names too few of them, or not by number, as this launcher needs it.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if how.nodes > 1 or how.device == "cpu" or visible is None:
        return [f"--num_nodes={how.nodes}", f"--num_gpus={how.processes}"]
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if len(names) < how.processes or not all(name.isdecimal() for name in names):
        raise BadInput(
            f"launch.processes is {how.processes}, but CUDA_VISIBLE_DEVICES={visible!r} does not name so many GPUs by number; "
            "lower launch.processes, or set launch.launcher to torchrun, which takes any names and works with zero_stage too"
        )
    return [f"--include=localhost:{','.join(names[: how.processes])}"]


def _meeting(how: Launch) -> list[str]:
    """Say how torchrun's launchers find each other: alone, at a machine that is named, or at the allocation's first one."""
    if how.nodes == 1:
        return ["--standalone"]
    place = how.rendezvous or f"{_first_host()}:{29400 + int(os.environ.get('SLURM_JOB_ID', '0')) % 1000}"
    name = os.environ.get("SLURM_JOB_ID", "tinyllava")
    return [f"--nnodes={how.nodes}", "--rdzv-backend=c10d", f"--rdzv-id={name}", f"--rdzv-endpoint={place}"]


def _first_host() -> str:
    """Ask Slurm for the first machine of this job. Raises BadInput outside one."""
    listed = os.environ.get("SLURM_JOB_NODELIST")
    if listed is None:
        raise BadInput(
            "launch.srun: this is no Slurm job (no SLURM_JOB_NODELIST); submit what `tinyllava slurm` writes"
        )
    if "[" not in listed and "," not in listed:
        return listed
    shown = subprocess.run(["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=True)
    return shown.stdout.split()[0]


def environment(how: Launch) -> dict[str, str]:
    """Give what a job's environment has beyond this process's own."""
    added = {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}  # what lies in the working directory shadows nothing
    added |= {name: value for name, value in ON_CPU.items() if name not in os.environ}
    if how.processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        # torchrun would say 1, and leave the other cores idle
        added["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // how.processes))
    if how.launcher == "deepspeed" and how.device == "cpu":
        added["DS_ACCELERATOR"] = "cpu"
    return added


def supervise(command: Sequence[str], log: Path, title: str, how: Launch, *, grace_s: float = GRACE_S) -> None:
    """Run a command to its end with its output in `log`. When this returns or raises, none of its processes is left."""
    with log.open("ab") as output:
        begin = output.tell()  # a job that goes on after a kill adds to its log
        tree = plant(command, output, environment=environment(how), grace_s=grace_s)
    deadline = time.monotonic() + how.timeout_s if how.timeout_s else None
    try:
        with showing(title) as show, _cancellation() as cancelled, log.open("rb") as written:
            written.seek(begin)
            while True:
                code = _wait(tree.process)
                _follow(written, show)
                if code is not None:
                    break
                if deadline and time.monotonic() > deadline:
                    raise JobFailed(
                        f"{title}: ended after its launch.timeout_s = {how.timeout_s} s; log: {log}\n{_tail(log, begin)}"
                    )
                if cancelled.is_set():
                    raise TerminationSignal(signal.SIGTERM)
    finally:
        tree.end(grace_s)
    if code != 0:
        raise _failure(code, log, begin, title, how)
    _tidy(log)


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return None


def _follow(written: BinaryIO, show: Callable[[Progress], None]) -> None:
    """Read the whole lines that the log has gained, and show the last progress among them."""
    place, gained = written.tell(), written.read()
    whole = gained[: gained.rfind(b"\n") + 1]
    written.seek(place + len(whole))
    lines = whole.decode(errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.startswith(PROGRESS_MARK)), None)
    if last is not None and (progress := Progress.parse(last)) is not None:
        show(progress)


def _failure(code: int, log: Path, begin: int, title: str, how: Launch) -> Exception:
    """Turn a bad exit code into an error. Launchers hide their ranks' exit codes, but not what the ranks said."""
    said = [line for line in _lines(log, begin) if line.startswith("error: ")]
    if said and (code == 2 or how.launcher != "plain"):
        return BadInput(said[-1].removeprefix("error: "))
    if not said and has_none(log.parent):  # nor was there room to say so
        return disk_full(title, log.parent)
    ended = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return JobFailed(f"{title}: its process ended with {ended}{hint}; log: {log}\n{_tail(log, begin)}")


def _lines(log: Path, begin: int) -> list[str]:
    with log.open("rb") as written:
        written.seek(begin)
        return [
            line for line in written.read().decode(errors="replace").splitlines() if not line.startswith(PROGRESS_MARK)
        ]


def _tail(log: Path, begin: int) -> str:
    return "\n".join(f"  | {line}" for line in _lines(log, begin)[-TAIL:])


def _tidy(log: Path) -> None:
    """Take the progress lines out of a finished log."""
    write_aside(log, "".join(f"{line}\n" for line in _lines(log, 0)))


@contextlib.contextmanager
def _cancellation() -> Iterator[threading.Event]:
    """Give an event that is set when this flow run is cancelled in Prefect by someone whose signal cannot reach us."""
    cancelled, over = threading.Event(), threading.Event()
    context = TaskRunContext.get()
    if context is None or context.task_run.flow_run_id is None:
        yield cancelled
        return
    here = contextvars.copy_context()  # Prefect's settings live in it
    watcher = threading.Thread(target=here.run, args=(_ask, context.task_run.flow_run_id, cancelled, over), daemon=True)
    watcher.start()
    try:
        yield cancelled
    finally:
        over.set()


def _ask(flow_run_id: UUID, cancelled: threading.Event, over: threading.Event) -> None:
    while not over.wait(CANCEL_EVERY_S):
        if is_cancelled(flow_run_id):  # the server may be away: then it is asked again later
            cancelled.set()
            return
