"""`make torture`: strange input against what reads it, for a time, from a seed.

Each case is a function of (kind, seed): one that went wrong is run again with `--kind KIND --first SEED --cases 1`. What may
happen: it is read, and then it keeps the rules that everything behind relies on, or it is refused under a name, in one line.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(
        str(Path(__file__).parents[2] / "tests")
    )  # the official files of every benchmark, as small as they can be

from benchmarks.torture.annotations import try_records
from benchmarks.torture.answers import try_answers
from benchmarks.torture.archives import try_archives
from benchmarks.torture.hostile import try_hostile
from benchmarks.torture.manifests import try_manifests
from benchmarks.torture.pictures import try_pictures
from benchmarks.torture.url_tables import try_url_tables

SLOW_S = 10.0  # of this process, the hostile server in it included: a case that takes more is told


@dataclass
class Found:
    """What came of the cases of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, str]] = field(default_factory=list)  # (seed, what)
    slowest: tuple[float, int] = (0.0, 0)  # (CPU seconds, seed)

    @property
    def cases(self) -> int:
        """Count the cases."""
        return sum(self.outcomes.values())


KINDS: dict[str, Callable[[random.Random], str]] = {
    "pictures": try_pictures,
    "annotations": try_records,
    "manifests": try_manifests,
    "archives": try_archives,
    "answers": try_answers,
    "url_tables": try_url_tables,
    "hostile": try_hostile,
}


def torture(kind: str, seeds: Iterator[int], seconds: float) -> Found:
    """Try cases until the time is over or the seeds are."""
    found, end = Found(), time.monotonic() + seconds
    for seed in seeds:
        if time.monotonic() > end:
            break
        began = time.process_time()
        try:
            outcome = KINDS[kind](random.Random(f"{kind} {seed}"))
        except Exception as error:
            outcome = "wrong"
            found.wrong.append((seed, " ".join(f"{type(error).__name__}: {error}".split())[:300]))
        found.outcomes[outcome] += 1
        found.slowest = max(found.slowest, (time.process_time() - began, seed))
    return found


def main(arguments: list[str]) -> int:
    """Print the table. Exit code 1 if anything went wrong or took too long."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="for all kinds together (default: an hour)")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="of each kind")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    kinds, bad = given.kind or list(KINDS), 0
    print("| kind | cases | what came of them | slowest (CPU) |\n|---|---|---|---|")
    for kind in kinds:
        seeds = iter(range(given.first, given.first + given.cases))
        found = torture(kind, seeds, given.seconds / len(kinds))
        counts = ", ".join(f"{name} {count:,}" for name, count in found.outcomes.most_common())
        print(
            f"| {kind} | {found.cases:,} | {counts} | {found.slowest[0]:.2f} s (seed {found.slowest[1]}) |", flush=True
        )
        for seed, what in found.wrong[:20]:
            print(f"wrong: --kind {kind} --first {seed} --cases 1: {what}", file=sys.stderr)
        bad += len(found.wrong) + (found.slowest[0] > SLOW_S)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
