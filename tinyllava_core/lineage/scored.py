"""The scores of a run, as the lineage remembers them: which benchmarks, scored how, with their items where. It only reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.store import open_read_only
from tinyllava_core.lineage.tables import HERE

SCORED = (HERE / "scored.sql").read_text(encoding="utf-8")


def scored(workspace: Path, run: str) -> list[tuple[dict[str, Any], Path]]:
    """Give each score of a run (its id, or the first letters of it) and the file of its items.

    Raises BadInput if there is no such run, it has no score, or its scores were made before items knew their cluster.
    """
    with open_read_only(workspace) as connection:
        answer = connection.execute(SCORED, {"run": run})
        names = [column[0] for column in answer.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    if not rows:
        raise BadInput(
            f'{workspace}: no run {run!r}; `tinyllava query "SELECT run_id FROM run"` lists them, or name two score files'
        )
    found = [row for row in rows if row["fingerprint"] is not None]
    if not found:
        raise BadInput(f"{workspace}: run {rows[0]['run_id']} has no scores; was it ended before `evaluate`?")
    old = [row["benchmark"] for row in found if row["variant"] is None]
    if old:
        raise BadInput(f"{workspace}: run {found[0]['run_id']}: {old[0]} was scored by an older version; run it again")
    return [(row, workspace / "artifacts" / "evaluate" / row["fingerprint"] / "items.jsonl") for row in found]
