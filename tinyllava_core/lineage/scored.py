"""The scores of a run, as the lineage remembers them: which benchmarks, scored how, with their items where. It only reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.store import open_read_only
from tinyllava_core.lineage.tables import HERE

SCORED = (HERE / "scored.sql").read_text(encoding="utf-8")


RUNS = """
SELECT run_id, run_id IN (SELECT run_id FROM score WHERE score IS NOT NULL)
FROM run WHERE $word = 'latest' OR starts_with(run_id, $word) ORDER BY started_at DESC
"""


def scored(workspace: Path, word: str) -> list[tuple[dict[str, Any], Path]]:
    """Give each score of a run and the file of its items. The run: its id, the first letters of it, `latest` (that has scores).

    Raises BadInput if there is no such run, or several, it has no score, or its scores were made before items knew their cluster.
    """
    with open_read_only(workspace) as connection:
        run = _meant(workspace, word, connection.execute(RUNS, {"word": word}).fetchall())
        answer = connection.execute(SCORED, {"run": run})
        names = [column[0] for column in answer.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    found = [row for row in rows if row["fingerprint"] is not None]
    if not found:
        raise BadInput(f"{workspace}: run {run} has no scores; was it ended before `evaluate`?")
    old = [row["benchmark"] for row in found if row["variant"] is None]
    if old:
        raise BadInput(f"{workspace}: run {run}: {old[0]} was scored by an older version; run it again")
    return [(row, workspace / "artifacts" / "evaluate" / row["fingerprint"] / "items.jsonl") for row in found]


def _meant(workspace: Path, word: str, runs: list[tuple[str, bool]]) -> str:
    """Choose among the runs that begin so, the newest first, each with whether it has scores."""
    if word == "latest":
        runs = [one for one in runs if one[1]][:1]
    chosen = [run for run, _ in runs if run == word] or [run for run, _ in runs]
    if not chosen:
        raise BadInput(
            f"{workspace}: no run {word!r}; expected `latest`, a run's id or its first letters (`tinyllava runs`), or a score file"
        )
    if len(chosen) > 1:
        raise BadInput(f"{workspace}: run {word!r} can be {', '.join(chosen[:5])}: give more letters")
    return chosen[0]
