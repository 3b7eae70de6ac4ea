"""Kill a training 30 times at random and compare its end with the undisturbed run: same weights, same ledger.

    python benchmarks/soak.py [--kills 30] [--seed 0] [--stage sft] [--ranks 2 --zero 2]

The pipeline first runs on a short toy recipe, undisturbed. Then the very job that trained its stage is started anew elsewhere and
killed, with SIGKILL and all it started, a few steps after each start, somewhere within a step, a save, or the start itself.
Ends with 1 and says what differs if the two are not bit for bit the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

SHORT = [
    "pretrain.mix=[{source: toy-captions, cap: 1600}]",
    "sft.mix=[{source: toy-chat, cap: 960}]",
    "evaluate.benchmarks=[]",
    "pretrain.save_every=3",
    "sft.save_every=3",
]
LEDGER = ("step", "loss", "grad_norm", "lr_language", "num_records", "num_tokens", "num_supervised")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", choices=("pretrain", "sft"), default="sft")
    parser.add_argument("--ranks", type=int, default=1, help="gloo ranks on this machine")
    parser.add_argument("--zero", type=int, choices=(1, 2, 3), help="through DeepSpeed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return soak(Path(folder), given)


def soak(folder: Path, given: argparse.Namespace) -> int:
    """Run undisturbed, run killed, compare -> exit code."""
    settings = list(SHORT)
    if given.ranks > 1 or given.zero:
        settings += ["launch.launcher=torchrun", f"launch.processes={given.ranks}", "launch.device=cpu"]
    if given.zero:
        settings.append(f"launch.zero_stage={given.zero}")
    subprocess.run(
        [sys.executable, "-m", "flows", "toy", "--workspace", str(folder / "workspace"), "--set", *settings], check=True
    )
    (calm,) = (folder / "workspace" / "artifacts" / given.stage).glob("[0-9a-f]*")
    job = yaml.safe_load((calm / "JOB.yaml").read_text())
    killed = folder / "killed"
    killed.mkdir()
    (killed / "JOB.yaml").write_text(yaml.safe_dump({**job, "out": str(killed)}))
    command = [sys.executable, "-m"]
    if given.ranks > 1 or given.zero:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={given.ranks}", "-m"]
    command += ["tinyllava_core.train", str(killed / "JOB.yaml")]
    chance = random.Random(given.seed)
    for number in range(given.kills):
        at = live(command, killed, chance)
        print(
            f"kill {number + 1:>2} of {given.kills}: after {at} finished steps, resume from {newest(killed)}",
            flush=True,
        )
        if at is None:
            break
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return compare(calm, killed)


def live(command: list[str], out: Path, chance: random.Random) -> int | None:
    """Let the training live for a few more steps, then kill all of it -> finished steps; None if it came to its end."""
    before, more, later = len(life_rows(out)), chance.randint(0, 7), chance.random() * 0.5
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment()
    )
    started = time.monotonic()
    mark = str(out / "JOB.yaml")
    while process.poll() is None:
        # 0 more steps: somewhere within the start, before or while the state is read
        if (more and num_steps(out, before) >= more) or (not more and time.monotonic() - started > later * 20):
            break
        time.sleep(0.02)
    time.sleep(later if more else 0)
    ended = process.poll() == 0
    kill_all(mark)
    process.wait()
    return None if ended else num_steps(out)


def num_steps(out: Path, lives_before: int | None = None) -> int:
    """Count the ledger's lines; with `lives_before`: those that the life after so many has added."""
    file = out / "steps.jsonl"
    count = file.read_bytes().count(b"\n") if file.is_file() else 0
    if lives_before is None:
        return count
    lives = life_rows(out)
    return count - lives[-1]["from_step"] if len(lives) > lives_before else 0


def life_rows(out: Path) -> list[dict[str, Any]]:
    """Read the lives so far; a torn last line is not there."""
    file = out / "lives.jsonl"
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.is_file() else []


def newest(out: Path) -> str:
    """Name the state that the next life goes on from."""
    return max((folder.name for folder in (out / "resume").glob("step-*")), default="the beginning")


def kill_all(mark: str) -> None:
    """SIGKILL every process that was started for this job, launcher, ranks and data workers."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in words:
                try:
                    os.kill(int(folder.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue


def compare(calm: Path, killed: Path) -> int:
    """Compare weights bit for bit, and the ledgers -> exit code."""
    ours, theirs = (load_file(folder / "checkpoint" / "model.safetensors") for folder in (killed, calm))
    differing = [name for name in theirs if not torch.equal(ours[name], theirs[name])]
    ledgers = [[{key: row[key] for key in LEDGER} for row in rows(folder)] for folder in (killed, calm)]
    lives = len(life_rows(killed))
    print(
        f"{lives} lives, {len(ledgers[0])} steps; {len(theirs)} tensors, {len(differing)} differ; ledgers equal: {ledgers[0] == ledgers[1]}"
    )
    return 0 if not differing and ledgers[0] == ledgers[1] else 1


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_WAIT_POLICY": "passive", "DS_ACCELERATOR": "cpu"}


if __name__ == "__main__":
    sys.exit(main())
