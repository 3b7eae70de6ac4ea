"""Faults of what is on the disk already: a flipped bit, a tail cut off, a file that somebody rewrote."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from benchmarks.torture.faults.meanwhile import ended, some_way
from benchmarks.torture.faults.place import Place, one_line, well, without
from tinyllava_core.lineage.store import open_read_only

DATA = (
    ("inspect", "records.parquet"),
    ("mix", "mix.parquet"),
    ("shard", "index.parquet"),
    ("shard", "shard-000000.tar"),
    ("shard", "result.json"),
)
TRAINING = (
    ("plan", "plan.parquet"),
    ("plan", "steps.parquet"),
    ("pretrain", "checkpoint/model.safetensors"),
    ("pretrain", "checkpoint/config.json"),
    ("shard", "shard-000000.tar"),
)


def changed(stage: str, file: str, harm: str) -> Callable[[Place], str]:
    """A file of a finished artifact is changed, and what was made of it is to be made again."""

    def made_of(place: Place) -> str:
        workspace = place.calm_copy()
        (of, *_) = sorted(workspace.glob(f"artifacts/{stage}/[0-9a-f]*/{file}"))
        without(workspace, of.relative_to(workspace).parts[2])
        spoil(place, of, harm)
        said = one_line(*place.run(workspace))
        assert of.name in said, said
        for again in range(3):
            shutil.rmtree(workspace / "artifacts" / stage)  # as the line says
            code, told = place.run(workspace)
            if code == 0:
                break
            assert again < 2, told[-600:]
        place.is_calm(workspace)
        return f"one line: {said}; then the same"

    made_of.__doc__ = f"{'A flipped bit' if harm == 'bit' else 'A tail cut off'} in {stage}/{file}."
    return made_of


def spoil(place: Place, file: Path, harm: str) -> None:
    """Flip a bit of a file, or cut its tail off, where chance says."""
    data = bytearray(file.read_bytes())
    # of a tar, a stage reads what it needs: the data stages the conversations, training the pictures too
    at = data.index(b'"turns"') + 12 if file.suffix == ".tar" else place.chance.randrange(len(data))
    data[at] ^= 1 << place.chance.randrange(8)
    file.write_bytes(data if harm == "bit" else data[: -place.chance.randrange(1, len(data))])


def a_changed_state(harm: str) -> Callable[[Place], str]:
    """The newest state of a killed training, weights and optimizer, is changed: the one before it goes on."""

    def changed_state(place: Place) -> str:
        workspace = place.workspace()
        process = place.start(workspace)
        some_way(place, workspace, process, least=10)
        process.send_signal(signal.SIGKILL)
        ended(
            process, signal.SIGKILL, workspace
        )  # the training too: asked to end by the watchdog, it saves a newer state
        states = sorted(workspace.glob("artifacts/sft/.*.partial/resume/step-*"))
        assert states, "it ended before it could be killed"
        spoil(place, max(states[-1].glob("*.safetensors"), key=lambda file: file.stat().st_size), harm)
        code, said = place.run(workspace)
        well(code, said)
        (log,) = workspace.glob("artifacts/sft/[0-9a-f]*/log.txt")
        assert f"{states[-1].name} is not what was saved there" in log.read_text(), log.read_text()[-600:]
        place.is_calm(workspace)
        return "told, then the same"

    changed_state.__doc__ = f"{'A flipped bit' if harm == 'bit' else 'A tail cut off'} in the newest training state."
    return changed_state


def a_changed_fragment(place: Place) -> str:
    """A flipped bit in a fragment of the lineage, and the database lost."""

    def flip(fragment: Path) -> None:
        data = bytearray(fragment.read_bytes())
        data[len(data) // 3] ^= 4
        fragment.write_bytes(data)

    return _fragment(place, flip)


def a_rewritten_fragment(place: Place) -> str:
    """Somebody wrote other numbers into a fragment, a good Parquet file, and the database is lost."""

    def rewrite(fragment: Path) -> None:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        rows = pq.ParquetFile(fragment).read()
        at = rows.column_names.index("num_records")
        pq.write_table(rows.set_column(at, rows.field(at), pc.add(rows["num_records"], 1)), fragment)

    return _fragment(place, rewrite)


def _fragment(place: Place, harm: Callable[[Path], None]) -> str:
    workspace = place.calm_copy()
    (fragment, *_) = sorted(workspace.glob("lineage/fragments/shard/*.parquet"))
    harm(fragment)
    for file in (workspace / "lineage" / "work.duckdb", workspace / "lineage.duckdb"):
        file.unlink()
    code, told = place.run(workspace)
    if code == 0:  # it hit what no reader reads, such as a statistic: every row is as it was
        place.is_calm(workspace)
        assert rows(workspace) == rows(place.home / "calm"), "a changed row was taken in"
        return "same"
    said = one_line(code, told)
    assert fragment.name in said, said
    fragment.unlink()
    (workspace / "lineage" / "fragments" / "artifact" / fragment.name).unlink()
    well(*place.run(workspace))
    place.is_calm(workspace)
    return f"one line: {said}; then the same"


def rows(workspace: Path) -> list[tuple[object, ...]]:
    """Read the lineage's rows of all shards."""
    with contextlib.closing(open_read_only(workspace)) as lineage:
        return lineage.execute("SELECT * FROM shard ORDER BY ALL").fetchall()
