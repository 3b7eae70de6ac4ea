"""What CI installs is written down, and fits what pyproject.toml allows."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CLONE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def supply():
    spec = importlib.util.spec_from_file_location("supply", CLONE / ".ci" / "supply.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def constraints() -> dict[str, Requirement]:
    lines = (CLONE / ".ci" / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


def test_every_package_that_is_asked_for_has_one_version_and_it_is_allowed(supply):
    pinned = constraints()
    for requirement in supply.asked():
        (pin,) = pinned[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert "+" not in pin.version, "a local part would refuse the build of another index"
        assert requirement.specifier.contains(pin.version), requirement


def test_what_the_packages_pull_in_is_pinned_too(supply):
    assert supply.closure().keys() <= constraints().keys()


def test_every_package_is_listed_with_its_licence(supply):
    listed = {name: licence for name, _, licence in supply.licences()}
    assert listed.keys() == supply.closure().keys()
    assert "Apache" in listed["prefect"]
    assert "MIT" in listed["duckdb"]


REPORT = {
    "dependencies": [
        {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}, {"id": "PYSEC-2"}]},
        {"name": "b", "version": "2", "vulns": []},
        {"name": "c", "skip_reason": "not found"},
    ]
}


@pytest.mark.parametrize(
    ("written", "code", "told"),
    [
        ("", 3, "NOT AUDITED: pip-audit reached no database of vulnerabilities: ConnectionError: no route"),
        (json.dumps(REPORT), 1, "2 packages audited, 1 unknown there, 2 known vulnerabilities\na 1: CVE-1\na 1: PYSEC-2"),
        (json.dumps({"dependencies": REPORT["dependencies"][2:]}), 3, "NOT AUDITED: no database knows any of the 1 packages: ['not found']"),
        (json.dumps({"dependencies": REPORT["dependencies"][1:2]}), 0, "1 packages audited, 0 unknown there, 0 known vulnerabilities"),
    ],
)  # fmt: skip
def test_an_audit_for_which_nobody_was_asked_is_not_a_clean_one(supply, monkeypatch, tmp_path, written, code, told):
    (tmp_path / "pip_audit.py").write_text(
        f"import sys; sys.stdout.write({written!r}); sys.exit('Traceback\\nConnectionError: no route')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = supply.vulnerabilities()
    assert (found[0], found[1][: len(told)]) == (code, told)


def test_an_audit_without_pip_audit_says_so(supply, monkeypatch):
    monkeypatch.setattr(supply.importlib.util, "find_spec", lambda _: None)
    assert supply.vulnerabilities() == (
        3,
        "NOT AUDITED: pip-audit is not installed: python -m pip install pip-audit",
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_ci_installs_by_the_constraints_and_others_by_what_is_allowed():
    assert "export CONSTRAINTS=.ci/constraints.txt" in (CLONE / ".ci" / "run").read_text()
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    for given, told in (("", "check  -e"), (".ci/constraints.txt", "check -c .ci/constraints.txt -e")):
        command = ["make", "-n", "-B", f"CONSTRAINTS={given}", "VENV=.venv-none", ".venv-none/.ready"]
        ran = subprocess.run(command, cwd=CLONE, env=own, capture_output=True, text=True, check=False)
        assert f"pip-version-{told}" in ran.stdout, ran.stdout + ran.stderr
