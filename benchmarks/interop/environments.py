"""Environments of other people's tools, one each: what is installed, and beside what. Nothing is run in them here.

An environment stands beside ours: what pip finds there it does not install again, and its own packages come first.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

THEIRS = Path(__file__).with_name("theirs")
VENDORED = ("torchvision", "torchaudio", "torchcodec")  # their builds must be of the very torch beside: not asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What stands in one environment."""

    name: str
    packages: tuple[str, ...]  # as pip takes them; "--but-torch NAME": its needs without torch and VENDORED
    beside: bool = True  # ours is behind it
    starts: str = ""  # a file of theirs/, run whenever a Python of this environment starts

    def python(self, home: Path) -> Path:
        """Its interpreter, below the folder of all environments."""
        return home / self.name / "bin" / "python"


class NotInstalled(Exception):
    """A tool that cannot be had here: pip's last word."""


def install(wanted: Environment, home: Path) -> Path:
    """Make the environment unless it is there -> its interpreter. Raises NotInstalled, with the reason in one line."""
    python, ready = wanted.python(home), home / wanted.name / ".ready"
    told = "\n".join(wanted.packages)
    if ready.is_file() and ready.read_text() == told:
        return python
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home / wanted.name)])
    if wanted.beside:
        ours = [place for place in sys.path if place.endswith("site-packages")]
        (_own(wanted, home) / "beside.pth").write_text("".join(f"{place}\n" for place in ours))
    for package in wanted.packages:
        if package.startswith("--but-torch "):
            name = package.removeprefix("--but-torch ")
            _pip(python, "--no-deps", name)
            _pip(python, *_needs(python, name))
        else:
            _pip(python, *package.split())
    if wanted.starts:
        (_own(wanted, home) / "sitecustomize.py").write_text((THEIRS / wanted.starts).read_text())
    ready.write_text(told)
    return python


def _own(wanted: Environment, home: Path) -> Path:
    return home / wanted.name / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _pip(python: Path, *words: str) -> None:
    _run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check", *words])


def _needs(python: Path, requirement: str) -> list[str]:
    """List what a package says it needs on this machine, but for VENDORED and torch."""
    name = requirement.split("=")[0].split("<")[0].split(">")[0]
    script = (
        "import importlib.metadata as m, sys; from packaging.requirements import Requirement as R\n"
        f"for one in map(R, m.requires({name!r}) or ()):\n"
        "    if one.marker is None or one.marker.evaluate({'extra': ''}): print(one.name + (f'[{chr(44).join(one.extras)}]' if one.extras else '') + str(one.specifier))"
    )
    needs = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout.split("\n")
    return [one for one in needs if one and one.split("=")[0].split(">")[0].split("<")[0] not in (*VENDORED, "torch")]


def _run(command: list[str]) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        lines = [line for line in ran.stderr.strip().splitlines() if not line.startswith(("WARNING", "[notice]"))]
        raise NotInstalled(lines[-1].removeprefix("ERROR: ") if lines else f"{command[2]} ended with {ran.returncode}")
