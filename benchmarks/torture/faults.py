"""Faults around a run, one at a time: each ends in the same artifacts as the calm run, or in one line, and then in the same artifacts.

    python -m benchmarks.torture.faults [--fault NAME ...]

The run is `python -m flows RECIPE --until-plan` on a person's own photographs: inspection, mixes, overlaps, shards, plans. What a
fault does to a training is held by tests/train. Some faults need root (mounts), one a C compiler; they are told as skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2] / "tests"))

from desk import lay_out

from tasks.running.server import api
from tinyllava_core.errors import BadInput
from tinyllava_core.intact import check, hashes, opened
from tinyllava_core.lineage.store import open_read_only

CLONE = Path(__file__).parents[2]
FAST = {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
STRANGE = "a b'c\"d%e#f[g]*{h,i}$(j)日本"
_BACK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *at) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    int said = next(which, at);
    if (which == CLOCK_REALTIME) at->tv_sec -= 86400;
    return said;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000; return 0;
}
time_t time(time_t *at) {
    struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Skipped(Exception):
    """This machine cannot make the fault."""


@dataclass
class Place:
    """Where the cases are tried: the recipe, the calm run, a server for all of them."""

    home: Path
    recipe: Path
    server: dict[str, str]  # the variables by which a run finds it
    calm: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float = 10.0  # that the calm run took
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def workspace(self) -> Path:
        """Name a folder that is not there yet."""
        return Path(tempfile.mkdtemp(dir=self.home)) / "workspace"

    def calm_copy(self) -> Path:
        """Copy the calm run's workspace."""
        to = self.workspace()
        shutil.copytree(self.home / "calm", to, symlinks=True)
        return to

    def start(
        self,
        workspace: Path,
        *before: str,
        drop: tuple[str, ...] = (),
        limit: Callable[[], None] | None = None,
        **env: str,
    ) -> subprocess.Popen[str]:
        """Start the run; `before` are words in front of the command, `drop` variables that are unset."""
        inherited = {name: value for name, value in os.environ.items() if name not in drop}
        command = [
            *before,
            sys.executable,
            "-m",
            "flows",
            str(self.recipe),
            "--workspace",
            str(workspace),
            "--until-plan",
        ]
        return subprocess.Popen(
            command, cwd=CLONE, env=inherited | FAST | self.server | env, text=True, preexec_fn=limit,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, workspace: Path, *before: str, **how: object) -> tuple[int, str]:
        """Run to the end -> exit code, what it said on stderr."""
        process = self.start(workspace, *before, **how)  # type: ignore[arg-type]
        _, said = process.communicate(timeout=600)
        return process.returncode, said

    def is_calm(self, workspace: Path) -> None:
        """Hold that the artifacts are those of the calm run, file by file."""
        found = artifacts(workspace)
        assert found.keys() == self.calm.keys(), f"other artifacts: {sorted(found.keys() ^ self.calm.keys())}"
        other = {f"{name}/{file}" for name in found for file in found[name].items() ^ self.calm[name].items()}
        assert not other, f"other files: {sorted(map(str, other))[:3]}"
        with contextlib.closing(open_read_only(workspace)) as lineage:
            assert lineage.execute("SELECT count(*) FROM artifact").fetchone() == (len(found),), (
                "the lineage lacks artifacts"
            )
        left = [str(path) for path in workspace.rglob("*.partial") if path.is_file()]
        assert not left, f"left: {left}"


def artifacts(workspace: Path) -> dict[str, dict[str, str]]:
    """Hash every file of every artifact, but for what says when it was."""
    when = ("attempts.parquet", "result.json")
    found = {f"{folder.parent.name} {folder.name}": folder for folder in workspace.glob("artifacts/*/[0-9a-f]*")}
    return {name: {**hashes(folder, *when), **tars(folder)} for name, folder in found.items()}


def rows(workspace: Path) -> list[tuple[object, ...]]:
    """Read the lineage's rows of all shards."""
    with contextlib.closing(open_read_only(workspace)) as lineage:
        return lineage.execute("SELECT * FROM shard ORDER BY ALL").fetchall()


def tars(folder: Path) -> dict[str, str]:
    """Hash what `hashes` leaves to its readers."""
    import hashlib

    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.tar")}


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


def a_strange_path(place: Place) -> str:
    """Spaces, quotes, %, #, brackets, another script in the workspace's path."""
    workspace = place.workspace().parent / STRANGE
    well(*place.run(workspace))
    place.is_calm(workspace)
    return "same"


def a_path_with_a_question_mark(place: Place) -> str:
    """DuckDB writes its log beside such a path."""
    return f"one line: {_line(place, place.workspace().parent / 'wh?t')}"


def behind_a_link(place: Place) -> str:
    """The workspace is a link."""
    workspace, real = place.workspace(), place.workspace()
    real.mkdir()
    workspace.symlink_to(real)
    well(*place.run(workspace))
    place.is_calm(workspace)
    return "same"


def another_file_system(place: Place) -> str:
    """The lineage, and the shards, each on a disk of its own."""
    workspace = place.workspace()
    (workspace / "artifacts").mkdir(parents=True)
    with disk("64m") as one, disk("64m") as other:
        (workspace / "lineage").symlink_to(one)
        (workspace / "artifacts" / "shard").symlink_to(other)
        well(*place.run(workspace))
        place.is_calm(workspace)
    return "same"


def without_home(place: Place) -> str:
    """HOME is unset."""
    return _same(place, drop=("HOME",))


def in_locale_c(place: Place) -> str:
    """No UTF-8 by default."""
    return _same(place, drop=("LANG",), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


def with_64_file_descriptors(place: Place) -> str:
    """As few as some systems give."""
    return _same(place, limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))


def with_a_full_temporary_folder(place: Place) -> str:
    """TMPDIR takes nothing."""
    with disk("8k") as folder:
        fill(folder)
        return _same(place, TMPDIR=str(folder))


def without_shared_memory(place: Place) -> str:
    """/dev/shm may not be written."""
    return _same(place, "unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh")


def on_a_read_only_disk(place: Place) -> str:
    """The workspace may not be written at all."""
    with disk("64m") as folder:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        said = _line(place, folder / "workspace")
    return f"one line: {said}"


def in_another_users_workspace(place: Place) -> str:
    """Somebody else's folder, without root's right to write everywhere."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        raise Skipped("needs root and setpriv")
    workspace = place.calm_copy()
    for path in [workspace, *workspace.rglob("*")]:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    return f"one line: {_line(place, workspace, 'setpriv', '--bounding-set=-all', '--inh-caps=-all')}"


def with_the_clock_set_back(place: Place) -> str:
    """The machine is a day behind what it wrote before."""
    library = place.home / "back.so"
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"], input=_BACK, text=True, check=False
    )  # fmt: skip
    if compiled.returncode != 0:
        raise Skipped("needs a C compiler")
    workspace = place.calm_copy()
    shutil.rmtree(workspace / "artifacts" / "plan")
    well(*place.run(workspace, LD_PRELOAD=str(library)))
    place.is_calm(workspace)
    return "same"


def two_at_once(place: Place) -> str:
    """Two runs of one recipe; eight readers, and one that stays open, meanwhile."""
    workspace = place.workspace()
    runs = [place.start(workspace) for _ in range(2)]
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
    place.is_calm(workspace)
    return "same"


def a_signal(number: signal.Signals) -> Callable[[Place], str]:
    """Send a signal at a moment that chance finds; then give the same command again."""

    def sent(place: Place) -> str:
        workspace = place.workspace()
        process = place.start(workspace)
        time.sleep(place.chance.uniform(1, 1.2 * place.seconds))
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        assert process.returncode in (0, -number, 128 + number), f"exit code {process.returncode}: {said[-600:]}"
        assert "Traceback" not in said, said[-600:]
        well(*place.run(workspace))
        place.is_calm(workspace)
        return "same"

    sent.__doc__ = f"{number.name}, then the same command again."
    return sent


def a_full_disk(size: str) -> Callable[[Place], str]:
    """The workspace's disk has so much room and no more; then it has."""

    def filled(place: Place) -> str:
        with disk(size) as folder:
            said = one_line(*place.run(folder / "workspace"))
            assert "is full" in said or "more on the disk" in said, said
            left = [path for path in folder.rglob("*.partial*") if path.is_file()]
            assert not left, left
            subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
            well(*place.run(folder / "workspace"))
            place.is_calm(folder / "workspace")
        return f"one line: {said}; then the same"

    filled.__doc__ = f"A disk of {size}."
    return filled


def changed(stage: str, file: str, harm: str) -> Callable[[Place], str]:
    """A file of a finished artifact is changed, and what was made of it is to be made again."""

    def made_of(place: Place) -> str:
        workspace = place.calm_copy()
        (of, *_) = sorted(workspace.glob(f"artifacts/{stage}/[0-9a-f]*/{file}"))
        _downstream_away(workspace, of.parent.name if "/" not in file else of.parents[file.count("/")].name)
        data = bytearray(of.read_bytes())
        # of a tar, a stage reads what it needs: here the conversations, when training the pictures too
        at = data.index(b'"turns"') + 12 if file.endswith(".tar") else place.chance.randrange(len(data))
        data[at] ^= 1 << place.chance.randrange(8)
        of.write_bytes(data if harm == "bit" else data[: -place.chance.randrange(1, len(data))])
        said = one_line(*place.run(workspace))
        assert of.name in said, said
        for again in range(3):
            shutil.rmtree(workspace / "artifacts" / stage)  # as the line says
            code, told = place.run(workspace)
            if code == 0:
                break
            assert again < 2, told[-600:]
        place.is_calm(workspace)
        return f"one line: {said}; then the same"

    made_of.__doc__ = f"{'A flipped bit' if harm == 'bit' else 'A tail cut off'} in {stage}/{file}."
    return made_of


def a_changed_fragment(place: Place) -> str:
    """A flipped bit in a fragment of the lineage, and the database lost."""
    workspace = place.calm_copy()
    (fragment, *_) = sorted(workspace.glob("lineage/fragments/shard/*.parquet"))
    data = bytearray(fragment.read_bytes())
    data[len(data) // 3] ^= 4
    fragment.write_bytes(data)
    for file in (workspace / "lineage" / "work.duckdb", workspace / "lineage.duckdb"):
        file.unlink()
    code, told = place.run(workspace)
    if code == 0:  # it hit what no reader reads, such as a statistic: every row is as it was
        place.is_calm(workspace)
        assert rows(workspace) == rows(place.home / "calm"), "a changed row was taken in"
        return "same"
    said = one_line(code, told)
    assert fragment.name in said, said
    fragment.unlink()
    (workspace / "lineage" / "fragments" / "artifact" / fragment.name).unlink()
    well(*place.run(workspace))
    place.is_calm(workspace)
    return f"one line: {said}; then the same"


USED = (
    ("inspect", "records.parquet"),
    ("mix", "mix.parquet"),
    ("shard", "index.parquet"),
    ("shard", "shard-000000.tar"),
    ("shard", "result.json"),
)
FAULTS: dict[str, Callable[[Place], str]] = {
    "strange path": a_strange_path,
    "question mark": a_path_with_a_question_mark,
    "behind a link": behind_a_link,
    "other disks": another_file_system,
    "no HOME": without_home,
    "locale C": in_locale_c,
    "64 files": with_64_file_descriptors,
    "TMPDIR full": with_a_full_temporary_folder,
    "no /dev/shm": without_shared_memory,
    "read-only": on_a_read_only_disk,
    "another user's": in_another_users_workspace,
    "clock back": with_the_clock_set_back,
    "two at once": two_at_once,
    **{f"{number.name}": a_signal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)},
    **{f"disk of {size}": a_full_disk(size) for size in ("100k", "400k", "900k")},
    **{f"{harm} in {stage}/{file}": changed(stage, file, harm) for harm in ("bit", "tail") for stage, file in USED},
    "bit in a fragment": a_changed_fragment,
}  # fmt: skip


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


def fill(folder: Path) -> None:
    """Leave no room."""
    with contextlib.suppress(OSError), (folder / "other").open("wb", 0) as other:
        while other.write(bytes(4096)):
            pass


def _same(place: Place, *before: str, **how: object) -> str:
    workspace = place.workspace()
    well(*place.run(workspace, *before, **how))
    place.is_calm(workspace)
    return "same"


def _line(place: Place, workspace: Path, *before: str) -> str:
    return one_line(*place.run(workspace, *before))


def _downstream_away(workspace: Path, of: str) -> None:
    """Delete every artifact that was made of one, directly or not."""
    gone, found = {of}, True
    while found:
        found = False
        for told in workspace.glob("artifacts/*/*/result.json"):
            if gone & set(opened(told)["inputs"].values()):
                gone.add(told.parent.name)
                shutil.rmtree(told.parent)
                found = True


@contextlib.contextmanager
def prepared(home: Path) -> Iterator[Place]:
    """Lay out the data, start a server, do the calm run."""
    (home / "desk").mkdir()
    with api(home / "server", say=lambda text: None) as server:
        to_server = {"PREFECT_API_URL": server.api_url, "PREFECT_API_AUTH_STRING": str(server.key)}
        place = Place(home=home, recipe=lay_out(home / "desk"), server=to_server)
        began = time.monotonic()
        well(*place.run(home / "calm"))
        place.seconds = time.monotonic() - began
        place.calm = artifacts(home / "calm")
        for folder in home.glob("calm/artifacts/*/[0-9a-f]*"):
            check(folder)
        yield place


def main(arguments: list[str]) -> int:
    """Try every fault, print the table. Exit code 1 if one came out otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--fault", choices=FAULTS, action="append")
    wrong = 0
    with tempfile.TemporaryDirectory() as home, prepared(Path(home)) as place:
        print("| fault | what came of it |\n|---|---|", flush=True)
        for name in parser.parse_args(arguments).fault or FAULTS:
            try:
                came = FAULTS[name](place)
            except Skipped as why:
                came = f"skipped: {why}"
            except AssertionError as error:
                wrong += 1
                came = f"WRONG: {' '.join(str(error).split())}"
            print(f"| {name} | {came.replace(home, '')} |", flush=True)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
