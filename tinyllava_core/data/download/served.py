"""URLs of a world that is made on this machine (toyworld://...): served while they are fetched, and never written with a port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.errors import BadInput

TOYWORLD = "toyworld://"
Serve = Callable[[Path], AbstractContextManager[str]]  # (cache) -> the base URL, for as long as the block lasts


@dataclass(frozen=True, slots=True)
class Served:
    """Turns URLs as written (toyworld://...) into ones that can be fetched now, and back: ports never get into data."""

    base: str  # of the world's server; "" if it is not needed

    def real(self, url: str) -> str:
        return f"{self.base}/{url.removeprefix(TOYWORLD)}" if url.startswith(TOYWORLD) else url

    def written(self, url: str) -> str:
        return TOYWORLD + url.removeprefix(f"{self.base}/") if self.base and url.startswith(f"{self.base}/") else url


@contextmanager
def served(manifest: Manifest, cache: Path, serve: Serve | None) -> Iterator[Served]:
    """Serve that world for as long as the block lasts, if the manifest draws on it. Raises BadInput where nobody serves it."""
    if not any(url.startswith(TOYWORLD) for url in manifest.urls()):
        yield Served("")
        return
    if serve is None:
        raise BadInput(f"{manifest.name!r}: its URLs begin with {TOYWORLD}, and nothing here serves them")
    with serve(cache) as base:
        yield Served(base.rstrip("/"))
