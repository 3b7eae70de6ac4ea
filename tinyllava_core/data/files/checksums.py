"""The lock of a workspace: the checksum of every file at its first download, for those that publish none.

A published file that changes under its URL is another data set under the same name: that is one clear error, not a
silent new run. What a manifest states itself is checked against the manifest; this only remembers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.frozen import read_yaml

FILE = "checksums.yaml"


def remember(cache: Path, url: str, sha256: str, size_bytes: int) -> None:
    """Note a file's checksum at its first download, and hold later ones against it.

    Raises BadInput, with both sums, if the file behind the URL is another one than it was.
    """
    path = cache / FILE
    with FileLock(cache / f".{FILE}.lock"):
        noted: dict[str, Any] = (read_yaml(path) or {}) if path.exists() else {}
        if url in noted:
            first = noted[url]
            if first["sha256"] != sha256:
                raise BadInput(
                    f"{url}: is another file than when it was first downloaded: sha256 was {first['sha256']} "
                    f"({first['bytes']} bytes, {first['first_seen']}), is {sha256} ({size_bytes} bytes); "
                    f"if the change is meant, take its entry out of {path}"
                )
            return
        noted[url] = {"sha256": sha256, "bytes": size_bytes, "first_seen": f"{datetime.now(UTC):%Y-%m-%d}"}
        write_aside(path, yaml.safe_dump(noted, sort_keys=True, allow_unicode=True, width=1000))
