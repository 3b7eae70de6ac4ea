"""The toy world's URLs (toyworld://...): served on loopback while they are fetched, and never written with a port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinyllava_core.data.manifest import Manifest

TOYWORLD = "toyworld://"


@dataclass(frozen=True, slots=True)
class Served:
    """Turns URLs as written (toyworld://...) into ones that can be fetched now, and back: ports never get into data."""

    base: str  # of the toy world's server; "" if it is not needed

    def real(self, url: str) -> str:
        return f"{self.base}/{url.removeprefix(TOYWORLD)}" if url.startswith(TOYWORLD) else url

    def written(self, url: str) -> str:
        return TOYWORLD + url.removeprefix(f"{self.base}/") if self.base and url.startswith(f"{self.base}/") else url


@contextmanager
def served(manifest: Manifest, cache: Path) -> Iterator[Served]:
    """Serve the toy world for as long as the block lasts, if the manifest draws on it."""
    if not any(url.startswith(TOYWORLD) for url in manifest.urls()):
        yield Served("")
        return
    from tinyllava_core.toyworld.server import serving  # draws pictures: only where it is asked for

    with serving(cache) as base:
        yield Served(base.rstrip("/"))
