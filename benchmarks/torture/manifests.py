"""Mutated manifests: read, or refused in one line that names the file."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from benchmarks.torture.mutate import NUMBERS, mutated, refused
from tinyllava_core.data.manifest.manifest import MANIFESTS, Manifest
from tinyllava_core.errors import BadInput

YAML_WORDS = (
    *NUMBERS,
    b": ",
    b"\n",
    b"- ",
    b"&a",
    b"*a",
    b"!!",
    b"~",
    b"[",
    b"{",
    b"\t",
    b"name: x\n",
    b"2026-02-31",
    b"\xff",
    b"9" * 5000,
)


def try_manifests(chance: random.Random) -> str:
    """A manifest is read, or refused in one line that names it."""
    data = chance.choice(sorted(MANIFESTS.glob("*.yaml"))).read_bytes()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "a.yaml"
        file.write_bytes(mutated(data, chance, YAML_WORDS))
        try:
            Manifest.read(file)
        except BadInput as error:
            return refused(error, str(file))
    return "read"
