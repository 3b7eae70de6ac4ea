"""Starting a job: its output, its progress, its errors, and that nothing of it survives."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tasks.running.launch import JobFailed, command, environment, supervise
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.settings.launch import Launch

PLAIN = Launch()


def run(tmp_path: Path, script: str, how: Launch = PLAIN, **options) -> str:
    log = tmp_path / "log.txt"
    supervise([sys.executable, "-c", script], log, "pretrain", how, **options)
    return log.read_text()


def living(word: str) -> list[psutil.Process]:
    """Every process whose command line has this word, but for zombies and this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            is_other = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if is_other and any(word in part for part in process.cmdline()):
                found.append(process)
    return found


def test_a_finished_job_leaves_a_log_without_progress_lines(tmp_path: Path) -> None:
    line = Progress(done=1, total=2, unit="steps").line()
    assert (
        run(tmp_path, f"import sys; print('first'); print('''{line}'''); print('last', file=sys.stderr)")
        == "first\nlast\n"
    )


def test_a_job_that_goes_on_adds_to_its_log(tmp_path: Path) -> None:
    run(tmp_path, "print('first life')")
    assert run(tmp_path, "print('second life')") == "first life\nsecond life\n"


def test_progress_is_shown_while_the_job_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Progress] = []

    class Showing:
        def __init__(self, title: str) -> None:
            assert title == "pretrain"

        def __enter__(self):
            return seen.append

        def __exit__(self, *_) -> None:
            pass

    monkeypatch.setattr("tasks.running.launch.showing", Showing)
    run(
        tmp_path,
        """
import time
from tinyllava_core.job import Progress, tell
for step in range(1, 4):
    tell(Progress(done=step, total=3, unit="steps", note=f"loss {1 / step:.2f}"))
    time.sleep(0.3)
""",
    )
    assert seen[-1] == Progress(done=3, total=3, unit="steps", note="loss 0.33")
    assert len(seen) >= 2


def test_exit_code_2_blames_the_input_with_the_processs_own_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^no such checkpoint$"):
        run(tmp_path, "import sys; print('error: no such checkpoint', file=sys.stderr); sys.exit(2)")


def test_an_error_of_an_earlier_life_is_not_blamed_again(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        run(tmp_path, "import sys; print('error: old'); sys.exit(2)")
    with pytest.raises(JobFailed, match="exit code 2"):
        run(tmp_path, "import sys; sys.exit(2)")


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as failure:
        run(tmp_path, "[print(f'line {n}') for n in range(100)]; raise RuntimeError('CUDA out of memory')")
    assert "exit code 1" in str(failure.value)
    assert "RuntimeError: CUDA out of memory" in str(failure.value)
    assert "line 99" in str(failure.value)
    assert "line 50" not in str(failure.value)
    assert str(tmp_path / "log.txt") in str(failure.value)


def test_a_killed_job_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"SIGKILL \(out of memory\?\)"):
        run(tmp_path, "import os; os.kill(os.getpid(), 9)")


def test_a_timeout_ends_ranks_that_ignore_sigterm(tmp_path: Path) -> None:
    script = """
import signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60); 'rank-of-timeout'"
ranks = [subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True) for _ in range(2)]
time.sleep(60)
"""
    started = time.monotonic()
    with pytest.raises(JobFailed, match="timeout_s = 1 s"):
        run(tmp_path, script, Launch(timeout_s=1), grace_s=1)
    assert time.monotonic() - started < 10
    assert living("rank-of-timeout") == []


def test_ranks_that_outlive_their_launcher_are_ended(tmp_path: Path) -> None:
    script = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60); 'rank-left-behind'"], start_new_session=True)
"""
    assert run(tmp_path, script) == ""
    assert living("rank-left-behind") == []


def test_an_interrupt_ends_the_job_and_is_passed_on(tmp_path: Path) -> None:
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "import time; time.sleep(60); 'interrupted-job'")
    assert living("interrupted-job") == []


def test_a_job_may_save_its_work_on_sigterm(tmp_path: Path) -> None:
    script = f"""
import signal, sys, time
def save(*_):
    print("saving", flush=True)
    open({str(tmp_path / "saved")!r}, "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
time.sleep(60)
"""
    with pytest.raises(JobFailed, match="timeout_s"):
        run(tmp_path, script, Launch(timeout_s=1))
    assert (tmp_path / "saved").exists()


def test_cores_are_shared_out_among_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert "OMP_NUM_THREADS" not in environment(PLAIN)
    assert environment(Launch(launcher="torchrun", processes=4))["OMP_NUM_THREADS"] == "2"


GLOO = """
import sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(total)
if dist.get_rank() == 0:
    print("sum", total.item(), "of", dist.get_world_size(), sys.argv[1], flush=True)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_a_launcher_starts_ranks_that_find_each_other(
    tmp_path: Path, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_job.py").write_text(GLOO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    how = Launch(launcher=launcher, processes=2, device="cpu")
    supervise(command("toy_job", [tmp_path / "JOB.yaml"], how), tmp_path / "log.txt", "pretrain", how)
    assert f"sum 3.0 of 2 {tmp_path / 'JOB.yaml'}" in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
def test_bad_input_found_by_a_rank_of_torchrun_is_still_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_job.py").write_text("import sys; print('error: wrong plan', file=sys.stderr); sys.exit(2)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    how = Launch(launcher="torchrun", processes=2)
    with pytest.raises(BadInput, match=r"^wrong plan$"):
        supervise(command("toy_job", [tmp_path / "JOB.yaml"], how), tmp_path / "log.txt", "pretrain", how)


def test_a_run_that_was_cancelled_in_prefect_ends_its_job(prefect_server: str, tmp_path: Path) -> None:
    """No signal comes: as with a worker that is dead. The run itself asks, and ends."""
    script = f"""
import sys, threading
from pathlib import Path
from prefect import flow, get_client, task
from prefect.runtime import flow_run
from prefect.states import Cancelling
from tasks.running import launch
from tinyllava_core.settings.launch import Launch
launch.CANCEL_EVERY_S = 0.2
def cancel(run_id):
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling(), force=True)
@task
def job():
    threading.Timer(1.0, cancel, (flow_run.id,)).start()
    sleep = [sys.executable, "-c", "import time; time.sleep(60); 'cancelled-job'"]
    launch.supervise(sleep, Path({str(tmp_path / "log.txt")!r}), "sft", Launch())
@flow
def story():
    job()
story()
"""
    environment = os.environ | {"PREFECT_API_URL": prefect_server}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, timeout=50, check=False, capture_output=True)
    assert ran.returncode == -signal.SIGTERM
    assert living("cancelled-job") == []
