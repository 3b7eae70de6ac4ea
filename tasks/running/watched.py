"""Say within seconds that Prefect's server is away, and that it is back. What a run makes does not hang on that server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

LOOK_EVERY_S = 2.0


@contextlib.contextmanager
def watched(
    answers: Callable[[], bool], where: str, say: Callable[[str], None], again: Callable[[], str | None] | None = None
) -> Iterator[None]:
    """Look now and then, for the length of a block, whether the server still answers, and say when that changes.

    `again`: starts it again where nobody else does, and gives what it did in words, or None.
    """
    over = threading.Event()
    watcher = threading.Thread(target=_look, args=(answers, where, say, over, again), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _look(
    answers: Callable[[], bool],
    where: str,
    say: Callable[[str], None],
    over: threading.Event,
    again: Callable[[], str | None] | None,
) -> None:
    there, missed = True, 0
    while not over.wait(LOOK_EVERY_S):
        missed = 0 if answers() else missed + 1
        if there and missed == 2:  # once is no sign: it may have much to do
            there = False
            say(
                f"note: Prefect's server at {where} does not answer; what is being made goes on. The pages, and the end of a "
                "stage, wait for it. Ended now, the same command goes on from here"
            )
        elif not there and missed == 0:
            there = True
            say(f"note: Prefect's server at {where} answers again")
        if not there and again is not None and (did := again()):
            say(f"note: Prefect's server at {where}: {did}")
