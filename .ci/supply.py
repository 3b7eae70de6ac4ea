"""What the product is installed from: every package that it and its tests pull in, with its version and licence.

python .ci/supply.py constraints   the versions of this environment, as .ci/constraints.txt has them
python .ci/supply.py licences      a table of them, those without a known licence last
python .ci/supply.py audit         the same, and known vulnerabilities by pip-audit; exit code 3 where nobody could be asked
"""

from __future__ import annotations

import importlib.metadata as installed
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NOT_AUDITED = 3  # exit code; 1: there are known vulnerabilities
CONSTRAINTS = Path(__file__).parent / "constraints.txt"
HEAD = "# What CI installs: `make constraints` writes it from an environment whose tests passed; `make newest` tries what is newer.\n"


def asked() -> list[Requirement]:
    """Read what pyproject.toml asks for, with what the tests need."""
    project = tomllib.loads((CONSTRAINTS.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["dev"]])]


def closure() -> dict[str, str]:
    """Find every package that is pulled in on this machine -> its version, without the part that names a build (+cpu)."""
    waiting, seen, found = asked(), set[tuple[str, str]](), dict[str, str]()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        extras = wanted.extras or {""}
        fresh = [extra for extra in sorted(extras) if (name, extra) not in seen]
        seen |= {(name, extra) for extra in fresh}
        try:
            inner = installed.requires(name) or []
        except installed.PackageNotFoundError:
            continue  # the back-port of dataclasses, which make takes away again
        found[name] = installed.version(name).split("+")[0]
        for requirement in map(Requirement, inner):
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in fresh):
                waiting += [requirement] if fresh else []
    return dict(sorted(found.items()))


def licences() -> Iterator[tuple[str, str, str]]:
    """Give (package, version, licence as its authors say it in one line)."""
    for name, version in closure().items():
        told = installed.metadata(name)
        classified = [
            line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or [] if line.startswith("License")
        ]
        text = told.get("License-Expression") or ", ".join(classified) or (told.get("License") or "").strip()
        yield name, version, re.sub(r"\s+", " ", text.split("\n")[0])[:60]


def main(word: str) -> int:
    """Do one of the three."""
    if word == "constraints":
        CONSTRAINTS.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in closure().items()))
        return 0
    rows = sorted(licences(), key=lambda row: (not row[2], row[0]))
    print("\n".join(f"{name:<32} {version:<14} {licence or '(says none)'}" for name, version, licence in rows))
    if word == "licences":
        return 0
    code, told = vulnerabilities()
    print(f"\n{told}", file=sys.stderr)
    return code


def vulnerabilities() -> tuple[int, str]:
    """Ask for known vulnerabilities -> exit code, what to say. NOT_AUDITED: nobody was asked, so nothing is known."""
    if importlib.util.find_spec("pip_audit") is None:
        return NOT_AUDITED, "NOT AUDITED: pip-audit is not installed: python -m pip install pip-audit"
    command = [
        *(sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps"),
        *("-r", CONSTRAINTS, "--format", "json"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        asked_about = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):  # it gave up: its report is written last
        why = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return NOT_AUDITED, f"NOT AUDITED: pip-audit reached no database of vulnerabilities: {why:.200}"
    known = [f"{one['name']} {one['version']}: {fault['id']}" for one in asked_about for fault in one.get("vulns", ())]
    unknown = [one["skip_reason"] for one in asked_about if "skip_reason" in one]
    if len(unknown) == len(asked_about):  # of which pip-audit says "No known vulnerabilities found", exit code 0
        return NOT_AUDITED, f"NOT AUDITED: no database knows any of the {len(unknown)} packages: {unknown[:1]}"
    head = f"{len(asked_about) - len(unknown)} packages audited, {len(unknown)} unknown there, {len(known)} known vulnerabilities"
    return bool(known), "\n".join([head, *known])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
