"""What `make` does before and after the work: the Python it wants, whose .venv it takes, what it deletes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
LOGGING = """#!/bin/sh
echo "$0 $*" >> calls
case "$*" in
  *ours*) echo ours;;
  "-m venv"*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "command = $0 $* $PWD/.venv" > .venv/pyvenv.cfg;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile, what it reads, and a Python that only writes down what it is asked to do."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CLONE / name, tmp_path)
    executable(tmp_path / "logging", LOGGING)
    return tmp_path


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def make(folder: Path, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    # not as a part of the make that runs these tests, whose level and flags come by the environment
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", *words]
    return subprocess.run(
        command, cwd=folder, env=own, input=answer, capture_output=True, text=True, check=False, timeout=60
    )


def install(clone: Path) -> list[str]:
    """Set up, and give what the Pythons were asked to do, but for the looks at themselves."""
    (clone / "calls").unlink(missing_ok=True)
    ran = make(clone, f"PYTHON={clone / 'logging'}", ".venv/.ready")
    assert ran.returncode == 0, ran.stderr
    calls = (clone / "calls").read_text().splitlines()
    return [call for call in calls if " -m " in call]


@pytest.mark.parametrize(("version", "fits"), [((2, 7), False), ((3, 10), False), ((3, 11), True), ((3, 99), False)])
@pytest.mark.parametrize("goal", ["demo", "test"])
def test_a_python_that_does_not_fit_is_one_line_before_anything_is_made(
    clone: Path, goal: str, version: tuple[int, int], fits: bool
) -> None:
    poses = f"import sys; sys.version_info = ({version[0]}, {version[1]}, 1, 'final', 0); exec(sys.argv[2])"
    python = executable(clone / "python", f'#!/bin/sh\nexec "{sys.executable}" -c "{poses}" "$@"\n')
    ran = make(clone, f"PYTHON={python}", *(["python"] if fits else [goal]))
    if fits:
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        return
    said, made = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert said.startswith(f"error: {python} is Python {version[0]}.{version[1]}, needed is 3.11 to 3.")
    assert re.search(r"say which: make PYTHON=python3\.\d+ demo$", said)
    assert made.startswith("make: ***")
    assert not (clone / ".venv").exists()


def test_a_python_that_is_not_there_is_told(clone: Path) -> None:
    ran = make(clone, "PYTHON=no-such-python", "demo")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: no-such-python is not on the path; say which: make PYTHON=")


def test_an_environment_is_made_once_and_updated_where_its_packages_change(clone: Path) -> None:
    first = install(clone)
    assert first[0] == f"{clone / 'logging'} -m venv --clear .venv"
    assert [call.split()[:4] for call in first[1:2]] == [[".venv/bin/python", "-m", "pip", "install"]]
    assert first[1].endswith(" -e .[dev]")
    assert install(clone) == []
    later = (clone / ".venv" / ".ready").stat().st_mtime + 5
    os.utime(clone / "pyproject.toml", (later, later))
    assert install(clone) == first[1:]


@pytest.mark.parametrize("whose", ["not finished", "of another folder", "without its Python"])
def test_an_environment_that_is_not_ours_is_made_anew(clone: Path, whose: str) -> None:
    install(clone)
    (clone / ".venv" / "theirs").touch()
    if whose == "not finished":
        (clone / ".venv" / ".ready").unlink()
    if whose == "of another folder":
        (clone / ".venv" / "pyvenv.cfg").write_text("command = python3 -m venv /elsewhere/.venv\n")
    if whose == "without its Python":
        (clone / ".venv" / "bin" / "python").unlink()
    assert install(clone)[0].endswith(" -m venv --clear .venv")
    assert not (clone / ".venv" / "theirs").exists()


@pytest.fixture
def workspace(clone: Path) -> Path:
    folder = clone / "workspace"
    (folder / "artifacts" / "sft").mkdir(parents=True)
    (folder / "artifacts" / "sft" / "weights").write_bytes(bytes(3 << 20))
    (folder / "lineage.duckdb").touch()
    return folder


def test_clean_takes_the_environment_and_never_a_workspace(clone: Path, workspace: Path) -> None:
    install(clone)
    assert make(clone, "clean").returncode == 0
    assert not (clone / ".venv").exists()
    assert (workspace / "artifacts" / "sft" / "weights").stat().st_size == 3 << 20


@pytest.mark.parametrize("answer", ["", "no\n", "y\n", "yes please\n"])
def test_a_workspace_is_not_deleted_without_a_yes(clone: Path, workspace: Path, answer: str) -> None:
    ran = make(clone, "clean-workspace", answer=answer)
    assert ran.returncode != 0
    assert f"This deletes {workspace}, 3" in ran.stdout
    assert re.search(r"3\.\dM\s+artifacts/sft", ran.stdout)
    assert "nothing was deleted" in ran.stdout
    assert (workspace / "artifacts" / "sft" / "weights").exists()


def test_a_workspace_is_deleted_on_yes_and_nothing_beside_it(clone: Path, workspace: Path) -> None:
    other = clone / "other"
    shutil.copytree(workspace, other)
    assert make(clone, "clean-workspace", f"WORKSPACE={other}", answer="yes\n").returncode == 0
    assert not other.exists()
    assert workspace.exists()


def test_a_folder_that_is_no_workspace_is_not_deleted(clone: Path) -> None:
    (clone / "photos").mkdir()
    ran = make(clone, "clean-workspace", "WORKSPACE=photos", answer="yes\n")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: photos holds no artifacts/, so it is no workspace")
    assert (clone / "photos").exists()
