"""Several machines: what is started where, and that two launchers on this one find each other and train one model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.running.launch import command, supervise
from tinyllava_core import cli
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.launch import Launch


def test_torchruns_launchers_meet_at_the_machine_that_is_named() -> None:
    words = command(
        "module",
        [Path("JOB.yaml")],
        Launch.parse({"launcher": "torchrun", "processes": 8, "nodes": 2, "rendezvous": "gpu1:29500"}, "test"),
    )
    assert words[1:3] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--rdzv-endpoint=gpu1:29500", "--rdzv-backend=c10d", "--nproc-per-node=8"} <= set(words)
    assert words[-3:] == ["-m", "module", "JOB.yaml"]


def test_deepspeed_reads_its_hostfile() -> None:
    how = Launch.parse({"launcher": "deepspeed", "processes": 4, "nodes": 2, "hostfile": "hosts"}, "test")
    words = command("module", [Path("JOB.yaml")], how)
    assert {"--hostfile=hosts", "--num_nodes=2", "--num_gpus=4"} <= set(words)


def test_srun_outside_a_slurm_job_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    how = Launch.parse({"launcher": "torchrun", "nodes": 2, "srun": True}, "test")
    with pytest.raises(BadInput, match="this is no Slurm job"):
        command("module", [Path("JOB.yaml")], how)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"launcher": "torchrun", "nodes": 2}, "several nodes: set srun"),
        ({"launcher": "deepspeed", "nodes": 2, "srun": True}, "srun needs launcher: torchrun"),
        ({"launcher": "torchrun", "hostfile": "hosts", "nodes": 2}, "hostfile needs launcher: deepspeed"),
        ({"launcher": "deepspeed", "zero_stage": 2, "offload": "all"}, "offload: all needs zero_stage: 3"),
        ({"launcher": "torchrun", "offload": "optimizer"}, "offload: optimizer needs zero_stage"),
        ({"launcher": "torchrun", "fsdp": "keep", "zero_stage": 2}, "set one of them to null"),
        ({"fsdp": "keep"}, "fsdp needs launcher: torchrun"),
        ({"launcher": "torchrun", "fsdp": "keep", "offload": "optimizer"}, "with fsdp, offload is all"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Launch.parse(fields, "test")


# What srun does, on one machine: the command once per node, each with its number; the first bad end is the end.
SRUN = """#!{python}
import os, subprocess, sys
words = sys.argv[1:]
nodes = next(int(word.split("=")[1]) for word in words if word.startswith("--nodes="))
command = words[next(place for place, word in enumerate(words) if not word.startswith("--")):]
running = [subprocess.Popen(command, env=os.environ | {{"SLURM_NODEID": str(node)}}) for node in range(nodes)]
sys.exit(max(process.wait() for process in running))
"""

PROGRAM = """
import json, sys, torch, torch.distributed as dist
dist.init_process_group("gloo")
told = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(told)
open(sys.argv[-1] + f".rank{dist.get_rank()}", "w").write(json.dumps([dist.get_world_size(), told.item()]))
dist.destroy_process_group()
"""


def test_under_srun_the_ranks_of_two_nodes_make_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text(SRUN.format(python=sys.executable))
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "counting.py").write_text(PROGRAM)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "localhost")
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    how = Launch.parse({"launcher": "torchrun", "nodes": 2, "processes": 1, "srun": True, "timeout_s": 120}, "test")
    supervise(command("counting", [tmp_path / "JOB.yaml"], how), tmp_path / "log.txt", "counting", how)
    found = sorted(json.loads(file.read_text()) for file in tmp_path.glob("JOB.yaml.rank*"))
    assert found == [[2, 3.0], [2, 3.0]]


def test_the_slurm_script_asks_for_the_machines_and_runs_the_recipe_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "slurm",
        "base",
        "--nodes",
        "2",
        "--gpus",
        "4",
        "--partition",
        "a100",
        "--set",
        "sft.lr=1e-5",
        "--workspace",
        "/big/ws",
    ]
    assert cli.main(words) == 0
    script = capsys.readouterr().out
    for line in (
        "--nodes=2",
        "--gpus-per-node=4",
        "--cpus-per-task=32",
        "--partition=a100",
        "--time=24:00:00",
        "--ntasks-per-node=1",
    ):
        assert f"#SBATCH {line}\n" in script
    assert "--account" not in script
    assert (
        "python -m flows base --workspace /big/ws --set sft.lr=1e-5 launch.launcher=torchrun launch.processes=4 launch.nodes=2 launch.srun=true &"
        in script
    )
    checked = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
    assert checked.returncode == 0


def test_the_slurm_script_hands_slurms_signal_on_and_ends_with_the_runs_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run with a stand-in for `python` that saves its work on SIGTERM and then ends with 143."""
    assert cli.main(["slurm", "toy"]) == 0
    (tmp_path / "job.sh").write_text(capsys.readouterr().out)
    stand_in = '#!/usr/bin/env bash\ntrap "sleep 0.3; echo saved; exit 143" TERM\necho ready\nwhile true; do sleep 0.05; done\n'
    (tmp_path / "python").write_text(stand_in)
    (tmp_path / "python").chmod(0o755)
    job = subprocess.Popen(
        ["bash", str(tmp_path / "job.sh")],
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    job.terminate()
    out, _ = job.communicate(timeout=30)
    assert out == "saved\n"
    assert job.returncode == 143


def test_a_bad_recipe_is_told_before_anything_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slurm", "base", "--set", "sft.lrr=1"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "sft.lr" in told.err


def test_deepspeeds_launcher_is_given_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told a number of GPUs, it takes the first ones of the machine; its own reading of what we tell it is held here."""
    from deepspeed.launcher.runner import parse_args, parse_resource_filter

    how = Launch(launcher="deepspeed", processes=2, zero_stage=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6,7")
    words = command("tinyllava_core.train", [Path("job.yaml")], how)
    told = parse_args(words[words.index("deepspeed.launcher.runner") + 1 :])
    assert (told.num_gpus, told.num_nodes) == (-1, -1)
    machine = {"localhost": list(range(8))}
    assert parse_resource_filter(machine, include_str=told.include, exclude_str="") == {"localhost": [4, 6]}
    for visible in ("4", "", "GPU-1a2b,GPU-3c4d"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(BadInput, match=r"does not name so many GPUs by number; .*torchrun"):
            command("tinyllava_core.train", [Path("job.yaml")], how)
