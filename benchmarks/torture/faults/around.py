"""Faults of what is around a run: paths, disks, the environment, the clock, whose folder it is."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.torture.faults.place import Place, Skipped, disk, fill, one_line, well

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


def _same(place: Place, *before: str, at: Path | None = None, **how: object) -> str:
    workspace = place.workspace(at)
    well(*place.run(workspace, *before, **how))
    place.is_calm(workspace)
    return "same"


def a_strange_path(place: Place) -> str:
    """Spaces, quotes, %, #, brackets, another script in the workspace's path."""
    return _same(place, at=Path(tempfile.mkdtemp(dir=place.home)) / STRANGE)


def a_path_with_a_question_mark(place: Place) -> str:
    """DuckDB writes its log beside such a path."""
    return f"one line: {one_line(*place.run(place.workspace().parent / 'wh?t'))}"


def behind_a_link(place: Place) -> str:
    """The workspace is a link."""
    real = place.workspace()
    real.mkdir(exist_ok=True)
    link = real.with_name("link")
    link.symlink_to(real)
    well(*place.run(link))
    place.is_calm(link)
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


NO_SHARED_MEMORY = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh")


def without_shared_memory(place: Place) -> str:
    """/dev/shm may not be written."""
    return _same(place, *NO_SHARED_MEMORY)


def with_little_shared_memory(place: Place) -> str:
    """/dev/shm holds 64 kB: less than one worker needs."""
    mount = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"'
    return _same(place, "unshare", "-m", "sh", "-c", mount, "sh")


def all_that_is_odd_at_once(place: Place) -> str:
    """Strange path behind a link, no HOME, locale C, 64 files, TMPDIR full, no /dev/shm: for `make test`, where time is dear."""
    real = Path(tempfile.mkdtemp(dir=place.home)) / STRANGE.encode("ascii", "ignore").decode()  # what locale C can read
    real.mkdir()
    link = real.with_name("link")
    link.symlink_to(real)
    with disk("8k") as folder:
        fill(folder)
        return _same(
            place, *NO_SHARED_MEMORY, at=link, drop=("HOME", "LANG"), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
            TMPDIR=str(folder), limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        )  # fmt: skip


def on_a_read_only_disk(place: Place) -> str:
    """The workspace may not be written at all."""
    with disk("64m") as folder:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        said = one_line(*place.run(folder / "workspace"))
    return f"one line: {said}"


def with_a_read_only(inside: str) -> Callable[[Place], str]:
    """One folder of the workspace may not be written; then it may."""

    def refused(place: Place) -> str:
        workspace = place.workspace()
        with disk("64m") as folder:
            shutil.copytree(place.before or place.home / "calm", workspace, symlinks=True, dirs_exist_ok=True)
            for stage in ("mix", "overlap", "shard", "plan"):
                shutil.rmtree(workspace / "artifacts" / stage)
            (workspace / inside).mkdir(exist_ok=True)
            shutil.copytree(workspace / inside, folder, dirs_exist_ok=True)
            subprocess.run(["mount", "--bind", folder, workspace / inside], check=True)
            try:
                subprocess.run(["mount", "-o", "remount,ro,bind", workspace / inside], check=True)
                said = one_line(*place.run(workspace))
                assert inside in said, said
                subprocess.run(["mount", "-o", "remount,rw,bind", workspace / inside], check=True)
                well(*place.run(workspace))
                place.is_calm(workspace)
            finally:
                subprocess.run(["umount", "-l", workspace / inside], check=False)
        return f"one line: {said}; then the same"

    refused.__doc__ = f"{inside} may not be written; then it may."
    return refused


def in_another_users_workspace(place: Place) -> str:
    """Somebody else's folder, without root's right to write everywhere."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        raise Skipped("needs root and setpriv")
    workspace = place.calm_copy()
    for path in [workspace, *workspace.rglob("*")]:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    said = one_line(*place.run(workspace, "setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    return f"one line: {said}"


def with_the_clock_set_back(place: Place) -> str:
    """The machine is a day behind what it wrote before."""
    library = place.home / "back.so"
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"], input=_BACK, text=True, check=False
    )  # fmt: skip
    if compiled.returncode != 0:
        raise Skipped("needs a C compiler")
    workspace = place.calm_copy()
    shutil.rmtree(workspace / "artifacts" / ("plan" if place.before is None else "sft"))
    well(*place.run(workspace, LD_PRELOAD=str(library)))
    place.is_calm(workspace)
    return "same"


def a_full_disk(size: str) -> Callable[[Place], str]:
    """The workspace's disk has so much room and no more; then it has."""

    def filled(place: Place) -> str:
        with disk(size) as folder:
            code, said = place.run(folder / "workspace")
            if code != 0:  # else all of it found room, Prefect's own files not
                said = one_line(code, said)
                is_full(said, folder / "workspace")
            subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
            well(*place.run(folder / "workspace"))
            place.is_calm(folder / "workspace")
        return f"one line: {said}; then the same" if code else "same: there was room for all but Prefect's own files"

    filled.__doc__ = f"A disk of {size}."
    return filled


def a_disk_that_fills(leave: int) -> Callable[[Place], str]:
    """The disk has so many bytes more than what is there already; then it has enough."""

    def filled(place: Place) -> str:
        with disk("256m") as folder:
            workspace = place.workspace(folder / "workspace")
            other = fill(folder, leave=leave)
            said = one_line(*place.run(workspace))
            is_full(said, workspace)
            other.unlink()
            well(*place.run(workspace))
            place.is_calm(workspace)
        return f"one line: {said}; then the same"

    filled.__doc__ = f"{leave:,} bytes are left on the disk."
    return filled


def is_full(said: str, workspace: Path) -> None:
    """Hold the line of a full disk to what it must tell, and the disk to what may be there: a training's states stay for its next life."""
    assert "is full" in said or "more on the disk" in said, said
    stays = workspace.glob("artifacts/*/.*.partial/steps.jsonl")
    trainings = tuple(file.parent for file in stays)
    left = [path for path in workspace.rglob("*.partial*") if path.is_file()]
    left += [
        file
        for folder in workspace.glob("artifacts/*/.*.partial")
        for file in folder.rglob("*")
        if folder not in trainings
    ]
    assert not left, f"left: {left}"
