"""Where the faults are tried: a recipe, a calm run of it, a server for all; and what a run after a fault is held to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tasks.running.server import Server, api
from tinyllava_core.errors import BadInput
from tinyllava_core.intact import check, hashes, opened
from tinyllava_core.lineage.store import open_read_only

CLONE = Path(__file__).parents[3]
FAST = {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
DATA = ("--until-plan",)  # inspection, mixes, overlaps, shards, plans
# 40 steps, a state every fourth, pictures decoded by a process of their own
TRAINING = ("--set", "evaluate.benchmarks=[]", "export=null", "sft.epochs=10", "sft.data_workers=1")
ON_TWO = ("launch.launcher=torchrun", "launch.processes=2", "launch.device=cpu")
# What says when, how long or where, not what.
NOT_HELD = ("attempts.parquet", "result.json", "JOB.yaml", "*.jsonl", "log.txt", "train.json")


class Skipped(Exception):
    """This machine cannot make the fault."""


@dataclass
class Place:
    """Where the cases are tried: the recipe, the calm run, a server for all of them."""

    home: Path
    recipe: Path
    server: Server
    words: tuple[str, ...] = DATA
    before: Path | None = None  # the workspace that every run here begins with; None: none
    calm: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float = 10.0  # that the calm run took
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def begin(self) -> Place:
        """Do the calm run."""
        began = time.monotonic()
        well(*self.run(self.workspace(self.home / "calm")))
        self.seconds = time.monotonic() - began
        self.calm = artifacts(self.home / "calm")
        for folder in self.home.glob("calm/artifacts/*/[0-9a-f]*"):
            check(folder)
        return self

    @cached_property
    def training(self) -> Place:
        """Stage sft of the same recipe: its runs find everything before it made."""
        first = replace(self, home=self._folder("whole"), words=TRAINING).begin()
        shutil.copytree(first.home / "calm", first.home / "before", symlinks=True)
        for stage in ("sft", "report"):
            (made,) = (first.home / "before" / "artifacts" / stage).glob("[0-9a-f]*")
            shutil.rmtree(made)
            for rows in (first.home / "before" / "lineage").glob(f"fragments/*/{made.name}.parquet"):
                rows.unlink()
        return replace(first, before=first.home / "before")

    @cached_property
    def on_two_ranks(self) -> Place:
        """The same stage on two ranks: sums in another order, so with a calm run of its own."""
        assert self.before is not None, "of a training"
        return replace(self, home=self._folder("two"), words=(*self.words, *ON_TWO)).begin()

    def _folder(self, name: str) -> Path:
        (self.home / name).mkdir()
        return self.home / name

    def workspace(self, at: Path | None = None) -> Path:
        """Give a workspace as runs here begin with it, a folder that is not there yet if that is none."""
        at = at or Path(tempfile.mkdtemp(dir=self.home)) / "workspace"
        if self.before is not None:
            shutil.copytree(self.before, at, symlinks=True, dirs_exist_ok=True)
        return at

    def calm_copy(self) -> Path:
        """Copy the calm run's workspace."""
        to = Path(tempfile.mkdtemp(dir=self.home)) / "workspace"
        shutil.copytree(self.home / "calm", to, symlinks=True)
        return to

    def start(
        self,
        workspace: Path,
        *before: str,
        drop: tuple[str, ...] = (),
        limit: Callable[[], None] | None = None,
        words: tuple[str, ...] = (),
        **env: str,
    ) -> subprocess.Popen[str]:
        """Start the run; `before` are words in front of the command, `words` at its end, `drop` variables that are unset."""
        inherited = {name: value for name, value in os.environ.items() if name not in drop}
        to_server = {"PREFECT_API_URL": self.server.api_url, "PREFECT_API_AUTH_STRING": str(self.server.key)}
        flow = [sys.executable, "-m", "flows", str(self.recipe), "--workspace", str(workspace)]
        return subprocess.Popen(
            [*before, *flow, *self.words, *words],
            cwd=CLONE, env=inherited | FAST | to_server | env, text=True, preexec_fn=limit,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, workspace: Path, *before: str, **how: object) -> tuple[int, str]:
        """Run to the end -> exit code, what it said on stderr."""
        process = self.start(workspace, *before, **how)  # type: ignore[arg-type]
        try:
            _, said = process.communicate(timeout=1800)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise AssertionError("still at work after half an hour") from None
        return process.returncode, said

    def is_calm(self, workspace: Path) -> None:
        """Hold that the artifacts are those of the calm run, file by file, that the lineage has them all, and no rest is left."""
        same(artifacts(workspace), self.calm)
        with contextlib.closing(open_read_only(workspace)) as lineage:
            told = lineage.execute("SELECT stage || ' ' || fingerprint FROM artifact").fetchall()
        known = {name for (name,) in told}
        assert self.calm.keys() <= known, f"the lineage lacks {sorted(self.calm.keys() - known)}"
        left = [str(path) for path in workspace.rglob("*.partial") if path.is_file()]
        assert not left, f"left: {left}"


def same(found: dict[str, dict[str, str]], calm: dict[str, dict[str, str]]) -> None:
    """Hold that artifacts are equal, file by file."""
    assert found.keys() == calm.keys(), f"other artifacts: {sorted(found.keys() ^ calm.keys())}"
    other = {f"{name}/{file}" for name in found for file in found[name].items() ^ calm[name].items()}
    assert not other, f"other files: {sorted(map(str, other))[:3]}"


def artifacts(workspace: Path) -> dict[str, dict[str, str]]:
    """Hash every file of every artifact, but for what says when it was; of a training's ledger, what every step was."""
    found = {f"{folder.parent.name} {folder.name}": folder for folder in workspace.glob("artifacts/*/[0-9a-f]*")}
    return {name: _held(folder) for name, folder in found.items()}


def _held(folder: Path) -> dict[str, str]:
    if folder.parent.name == "report":  # it tells when, how long and where on every page
        return {file.name: "there" for file in folder.iterdir()}
    held = {name: sha256 for name, sha256 in hashes(folder, *NOT_HELD).items() if "tensorboard" not in name}
    for file in folder.glob("*.tar"):  # which `hashes` leaves to its readers
        held[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if (folder / "steps.jsonl").is_file():
        steps = [row | {"seconds": 0, "life": 0} for row in ledger(folder)]
        held["steps.jsonl"] = hashlib.sha256(json.dumps(steps).encode()).hexdigest()
    return held


def ledger(folder: Path) -> list[dict[str, object]]:
    """Read the steps of a training."""
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def one_line(code: int, said: str) -> str:
    """Hold a run that gave up to its form -> its line."""
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 2, f"exit code {code}: {said[-600:]}"
    assert len(lines) == 1, f"{len(lines)} lines: {said[-600:]}"
    assert "Traceback" not in said, said[-600:]
    return lines[0].removeprefix("error: ")


def well(code: int, said: str) -> None:
    """Hold that a run ended well, in silence."""
    assert code == 0, f"exit code {code}: {said[-600:]}"
    assert "Traceback" not in said, said[-600:]


def without(workspace: Path, of: str) -> None:
    """Delete every artifact that was made of one, directly or not."""
    gone, found = {of}, True
    while found:
        found = False
        for told in workspace.glob("artifacts/*/*/result.json"):
            with contextlib.suppress(BadInput):
                if gone & set(opened(told)["inputs"].values()):
                    gone.add(told.parent.name)
                    shutil.rmtree(told.parent)
                    found = True


@contextlib.contextmanager
def disk(size: str) -> Iterator[Path]:
    """Mount a file system of a given size."""
    folder = Path(tempfile.mkdtemp())
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        raise Skipped("needs root, to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        folder.rmdir()


def fill(folder: Path, leave: int = 0) -> Path:
    """Leave so many bytes of room -> what fills the rest."""
    free = shutil.disk_usage(folder).free
    with contextlib.suppress(OSError), (folder / "other").open("wb", 0) as other:
        os.posix_fallocate(other.fileno(), 0, max(1, free - leave))
    with contextlib.suppress(OSError), (folder / "other").open("ab", 0) as other:
        while not leave and other.write(bytes(4096)):
            pass
    return folder / "other"


@contextlib.contextmanager
def prepared(home: Path) -> Iterator[Place]:
    """Lay out the data, start a server, do the calm run."""
    from desk import lay_out  # of tests/

    (home / "desk").mkdir()
    with api(home / "server", say=lambda text: None) as server:
        yield Place(home=home, recipe=lay_out(home / "desk"), server=server).begin()
