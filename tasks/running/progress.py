"""Show how far a stage is: a bar on a terminal, a progress artifact in Prefect, a line now and then in the log.

Only looks: whatever goes wrong while showing must not stop what is shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from tinyllava_core.job import Progress

CONSOLE = Console(highlight=False)  # the one console: a bar and a line printed beside it must know of each other
LOG = logging.getLogger("tinyllava")  # goes to Prefect by its setting logging.extra_loggers
LOG.setLevel(logging.INFO)

ARTIFACT_EVERY_S = 1.0
LINE_EVERY_S = 30.0
_LONGEST = 100  # characters of a slug: with what is added to it, a file may still have it for its name


@contextlib.contextmanager
def showing(title: str) -> Iterator[Callable[[Progress], None]]:
    """Give a function that takes a stage's progress and shows it, until the block ends."""
    artifact = _Artifact(title)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left  {task.fields[note]}"),
    )
    with Bars(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bars:
        bar, part = bars.add_task(title, total=None, unit="", note=""), ("", 0)
        last_line = started = time.monotonic()
        pace = Pace()

        def show(progress: Progress) -> None:
            nonlocal bar, part, last_line
            if part != (progress.unit, progress.total):  # another part of the stage: another bar in its place
                part = (progress.unit, progress.total)
                bars.remove_task(bar)
                bar = bars.add_task(title, total=progress.total or None, unit="", note="")
            bars.update(bar, completed=progress.done, unit=progress.unit, note=progress.note)
            now = time.monotonic()
            pace.seen(progress, now)
            said = line(title, progress, now - started) + pace.left(progress)
            artifact.show(progress, said)
            if not CONSOLE.is_terminal and now - last_line >= LINE_EVERY_S:
                last_line = now
                LOG.info("%s", said)

        yield show
    artifact.close()


def line(title: str, progress: Progress, seconds: float) -> str:
    """Say in one line how far a stage is."""
    note = f", {progress.note}" if progress.note else ""
    total = f" of {progress.total:,}" if progress.total else ""
    return f"{title}: {progress.done:,}{total} {progress.unit} in {seconds:.0f} s{note}"


class Pace:
    """How fast a part of a stage goes, from its first progress on: what was there already is not counted as done now."""

    def __init__(self) -> None:
        self._part, self._done, self._since, self._rate = ("", 0), 0, 0.0, 0.0

    def seen(self, progress: Progress, now: float) -> None:
        """Take one progress, at a time in seconds."""
        if self._part != (progress.unit, progress.total):
            self._part, self._done, self._since = (progress.unit, progress.total), progress.done, now
        spent = now - self._since
        self._rate = (progress.done - self._done) / spent if spent > 0 else 0.0

    def left(self, progress: Progress) -> str:
        """Say how long the rest will take at this pace: ", 2:05 left"; nothing where it cannot be known."""
        rest = progress.total - progress.done
        if self._rate <= 0 or rest <= 0:
            return ""
        minutes, seconds = divmod(round(rest / self._rate), 60)
        hours, minutes = divmod(minutes, 60)
        return f", {f'{hours}:{minutes:02}' if hours else minutes}:{seconds:02} left"


def slug(text: str) -> str:
    """Make a key that Prefect takes for an artifact, and a name for files: small letters, digits and dashes, 100 at most.

    What has letters of another script, or more of them, ends in a hash: two texts do not become one.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain and len(plain) <= _LONGEST and not any(one.isalpha() and not one.isascii() for one in text):
        return plain
    return f"{plain[: _LONGEST - 9]}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}".strip("-")


class _Artifact:
    """Prefect's progress artifact of one task run: made at the first progress, written at most once a second."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.id: UUID | None = None
        self.percent = 0.0
        self.written = float("-inf")
        self.usable = TaskRunContext.get() is not None

    def show(self, progress: Progress, said: str) -> None:
        self.percent = 100.0 * progress.done / progress.total if progress.total else 0.0
        if time.monotonic() - self.written >= ARTIFACT_EVERY_S:
            self._write(said)

    def close(self) -> None:
        if self.id is not None:
            self._write(None)

    def _write(self, description: str | None) -> None:
        if not self.usable:
            return
        try:
            if self.id is None:
                made = create_progress_artifact(
                    self.percent, key=slug(f"progress-{self.title}"), description=description
                )
                assert isinstance(made, UUID)
                self.id = made
            else:
                update_progress_artifact(self.id, progress=self.percent, description=description)
        except Exception as error:  # the server is away: the stage goes on without being watched
            self.usable = False
            LOG.warning("%s: progress is no longer shown in Prefect: %s", self.title, error)
        self.written = time.monotonic()
