"""What `pip install` takes along: every file that the program reads, wherever it runs."""

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_file_of_a_package_that_is_no_code_is_installed_with_it() -> None:
    packages = [pattern.rstrip("*") for pattern in SETUP["packages"]["find"]["include"]]
    ran = subprocess.run(["git", "ls-files", "-z", *packages], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        pytest.skip("not a clone")
    files = {ROOT / name for name in ran.stdout.split("\0") if name and not name.endswith(".py")}
    for package, patterns in SETUP["package-data"].items():
        for pattern in patterns:
            files -= set((ROOT / package).glob(pattern))
    assert files == set()
