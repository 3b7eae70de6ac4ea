"""The store: nothing that was left is lost, whoever writes, reads, moves or dies meanwhile."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from small_workspace import named

from tinyllava_core.errors import BadInput
from tinyllava_core.lineage import store
from tinyllava_core.lineage.fragments import read
from tinyllava_core.lineage.store import leave, open_read_only, publish, rebuild
from tinyllava_core.room import DiskFull

EDGE = "fingerprint input input_fingerprint"


def leave_edge(workspace: Path, key: str, value: str = "v") -> None:
    leave(workspace, "edge", key, named(EDGE, (key, "x", value)))


def edges(workspace: Path) -> list[tuple[str, str]]:
    with open_read_only(workspace) as connection:
        return connection.execute("SELECT fingerprint, input_fingerprint FROM edge ORDER BY ALL").fetchall()


def test_what_is_left_and_published_is_there(tmp_path: Path):
    leave(tmp_path, "edge", "two rows", named(EDGE, ("a", "x", "1"), ("a", "y", "2")))
    leave(tmp_path, "edge", "no rows", [])
    publish(tmp_path)
    assert edges(tmp_path) == [("a", "1"), ("a", "2")]


def test_the_first_open_publishes_what_is_left(tmp_path: Path):
    leave_edge(tmp_path, "a")
    assert edges(tmp_path) == [("a", "v")]


def test_leaving_a_key_again_replaces_its_rows_and_only_those(tmp_path: Path):
    for value in ("1", "2"):
        leave_edge(tmp_path, "a", value)
        leave_edge(tmp_path, "b/c d", "always")
        publish(tmp_path)
    publish(tmp_path)
    assert edges(tmp_path) == [("a", "2"), ("b/c d", "always")]


def test_a_fragment_that_was_taken_away_takes_its_rows_along(tmp_path: Path):
    leave_edge(tmp_path, "a")
    leave_edge(tmp_path, "b")
    publish(tmp_path)
    (tmp_path / "lineage/fragments/edge/a.parquet").unlink()
    publish(tmp_path)
    assert edges(tmp_path) == [("b", "v")]


def test_rows_must_have_exactly_the_columns_of_their_table(tmp_path: Path):
    with pytest.raises(AssertionError, match=r"'edge': missing columns \['input'\], unknown columns \['inptu'\]"):
        leave(tmp_path, "edge", "a", named("fingerprint inptu input_fingerprint", ("a", "b", "c")))
    with pytest.raises(AssertionError, match="no lineage table 'egde'"):
        leave(tmp_path, "egde", "a", [])
    with pytest.raises(AssertionError, match=r"'edge', column 'input' \(VARCHAR\)"):
        leave(tmp_path, "edge", "a", named(EDGE, ("a", 7, "c")))
    assert not list(tmp_path.rglob("*.parquet"))


def test_times_are_kept_as_utc(tmp_path: Path):
    summer = datetime(2026, 7, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    columns = "run_id ended_at state"
    for key, time in (
        ("aware", summer),
        ("text", "2026-07-01T12:00:00+02:00"),
        ("zulu", "2026-07-01T10:00:00Z"),
        ("none", None),
    ):
        leave(tmp_path, "run_end", key, named(columns, (key, time, "Completed")))
    with open_read_only(tmp_path) as connection:
        rows = dict(connection.execute("SELECT run_id, ended_at FROM run_end").fetchall())
    assert rows == {"none": None} | dict.fromkeys(("aware", "text", "zulu"), datetime(2026, 7, 1, 10))


def test_two_processes_that_leave_and_publish_at_once_lose_nothing(tmp_path: Path):
    script = f"""
import sys; from pathlib import Path
from tinyllava_core.lineage.store import leave, publish
home, me = Path({str(tmp_path)!r}), sys.argv[1]
for n in range(8):
    leave(home, "edge", f"{{me}}-{{n}}", [{{"fingerprint": f"{{me}}-{{n}}", "input": "x", "input_fingerprint": "v"}}])
    publish(home)
"""
    both = [subprocess.Popen([sys.executable, "-c", script, name]) for name in "ab"]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    with duckdb.connect(str(tmp_path / "lineage.duckdb"), read_only=True) as published:
        rows = published.execute("SELECT fingerprint FROM edge ORDER BY ALL").fetchall()
    assert rows == [(f"{name}-{n}",) for name in "ab" for n in range(8)]


def test_a_reader_keeps_its_snapshot_while_others_publish(tmp_path: Path):
    leave_edge(tmp_path, "a")
    publish(tmp_path)
    with open_read_only(tmp_path) as early, duckdb.connect(str(tmp_path / "lineage.duckdb"), read_only=True) as plain:
        leave_edge(tmp_path, "b")
        publish(tmp_path)
        assert early.execute("SELECT count(*) FROM edge").fetchall() == [(1,)]
        assert plain.execute("SELECT count(*) FROM edge").fetchall() == [(1,)]
        assert len(edges(tmp_path)) == 2  # opened later, in the same process: sees the later file


@pytest.mark.parametrize("place", ["_insert", "_write_published", "Path.replace"])
def test_a_merger_killed_on_the_way_loses_nothing(tmp_path: Path, place: str):
    """Killed within the transaction, before anything is published, or with the new file written and not yet in its place."""
    leave_edge(tmp_path, "a")
    publish(tmp_path)
    leave_edge(tmp_path, "b")
    leave(tmp_path, "run_end", "r", named("run_id ended_at state", ("r", None, "Failed")))
    script = f"""
import os, signal; from pathlib import Path
from tinyllava_core.lineage import store
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
owner, name = (Path, "replace") if {place!r} == "Path.replace" else (store, {place!r})
setattr(owner, name, (lambda was: lambda *a: (was(*a), die()) if name == "_insert" else die())(getattr(owner, name)))
store.publish(Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == -signal.SIGKILL
    assert edges(tmp_path) == [("a", "v")]  # readers still see the last whole file
    publish(tmp_path)
    assert edges(tmp_path) == [("a", "v"), ("b", "v")]
    assert sorted(path.name for path in (tmp_path / "lineage").iterdir()) == [".lock", "fragments", "work.duckdb"]


@pytest.mark.parametrize("name", ["lineage/work.duckdb", "lineage.duckdb"])
@pytest.mark.parametrize("harm", ["lost", "empty", "junk", "cut"])
def test_a_lost_or_damaged_database_comes_back_from_the_fragments(tmp_path: Path, name: str, harm: str):
    leave_edge(tmp_path, "a")
    publish(tmp_path)
    leave_edge(tmp_path, "b")
    publish(tmp_path)
    harmed = tmp_path / name
    whole = harmed.read_bytes()
    if harm == "lost":
        harmed.unlink()
    else:
        harmed.write_bytes({"empty": b"", "junk": b"junk" * 9000, "cut": whole[: len(whole) // 2]}[harm])
    if name == "lineage/work.duckdb":
        publish(tmp_path)
    assert edges(tmp_path) == [("a", "v"), ("b", "v")]


def test_rebuild_makes_everything_again(tmp_path: Path):
    leave_edge(tmp_path, "a")
    publish(tmp_path)
    (tmp_path / "lineage.duckdb").unlink()
    rebuild(tmp_path)
    assert (tmp_path / "lineage.duckdb").is_file()
    assert edges(tmp_path) == [("a", "v")]


def test_another_schema_makes_the_tables_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The older version's fragment lacks a column: NULL."""
    leave_edge(tmp_path, "a")
    publish(tmp_path)
    folder = tmp_path / "lineage/fragments/edge"
    pq.write_table(pa.table({"fingerprint": ["old"], "input": ["x"]}), folder / "old.parquet")
    monkeypatch.setattr(store, "SCHEMA_SHA256", "another")
    publish(tmp_path)
    assert edges(tmp_path) == [("a", "v"), ("old", None)]


def test_a_fragment_with_a_column_that_the_table_has_not_is_named(tmp_path: Path):
    leave_edge(tmp_path, "a")
    pq.write_table(
        pa.table({"fingerprint": ["new"], "colour": ["red"]}), tmp_path / "lineage/fragments/edge/new.parquet"
    )
    with pytest.raises(BadInput, match=r"new\.parquet: lineage table 'edge' has no column colour"):
        publish(tmp_path)


def test_a_broken_fragment_is_named(tmp_path: Path):
    leave_edge(tmp_path, "a")
    (tmp_path / "lineage/fragments/edge/b.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"b\.parquet: not a readable fragment"):
        publish(tmp_path)


def test_whichever_bit_of_a_fragment_flips_it_says_the_same_or_is_named(tmp_path: Path):
    """In a column's name it was said to be of another version, and half a letter there ended the run with a traceback."""
    leave_edge(tmp_path, "a", "as it was")
    fragment = tmp_path / "lineage/fragments/edge/a.parquet"
    whole, rows = fragment.read_bytes(), read(fragment.parent, [fragment.name])
    told: Counter[str] = Counter()
    for at in range(0, len(whole), 5):
        fragment.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            assert read(fragment.parent, [fragment.name]).equals(rows)
            told["same"] += 1
        except BadInput as error:
            told[str(error).removeprefix(f"{fragment}: ").split(" (")[0].split(":")[0]] += 1
    assert set(told) == {"same", "not a readable fragment", "its rows are not those that were left there"}


@pytest.mark.parametrize("writer", ["pyarrow", "pandas", "duckdb"])
def test_a_fragment_that_somebody_rewrote_is_named_and_not_taken_in(tmp_path: Path, writer: str):
    leave_edge(tmp_path, "a", "as it was")
    publish(tmp_path)
    fragment = tmp_path / "lineage/fragments/edge/a.parquet"
    rows = pq.ParquetFile(fragment).read()
    other = rows.set_column(2, rows.field(2), pa.array(["another"]))
    if writer == "pyarrow":
        pq.write_table(other, fragment)
    elif writer == "pandas":
        other.to_pandas().to_parquet(fragment)
    else:
        duckdb.from_arrow(other).write_parquet(str(fragment))
    with pytest.raises(BadInput, match=r"a\.parquet: its rows are not those that were left there"):
        publish(tmp_path)
    assert edges(tmp_path) == [("a", "as it was")]


def test_a_fragment_that_was_only_copied_or_packed_otherwise_is_taken_in(tmp_path: Path):
    leave(tmp_path, "edge", "a", named(EDGE, ("a", "x", None), ("ä\n", "y", "2")))
    fragment = tmp_path / "lineage/fragments/edge/a.parquet"
    pq.write_table(pq.ParquetFile(fragment).read(), fragment, compression="zstd")
    assert edges(tmp_path) == [("a", None), ("ä\n", "2")]


def test_a_moved_workspace_is_published_again_at_its_new_place(made_once: Path, tmp_path: Path):
    moved = Path(shutil.copytree(made_once, tmp_path / "elsewhere"))
    with open_read_only(moved) as connection:
        assert connection.execute("SELECT workspace FROM publication").fetchall() == [(str(moved.resolve()),)]
        names = connection.execute(
            "SELECT DISTINCT parse_dirpath(filename) FROM read_text(?)", [f"{moved}/artifacts/*/*/steps.jsonl"]
        )
        assert len(names.fetchall()) == 2
        assert connection.execute("SELECT count(*) FROM steps").fetchall() == [(5,)]


def test_a_workspace_without_lineage_is_the_users_fault(tmp_path: Path):
    with pytest.raises(BadInput, match="no lineage here"):
        open_read_only(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_in_the_middle_of_a_merge_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Raised there, it left a database half closed, and the same process waited for ever as it published on its way out."""
    write, begun = store._write_published, []

    class Stopped(BaseException):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    def interrupted(work: duckdb.DuckDBPyConnection, workspace: Path) -> None:
        begun.append(len(begun))
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        write(work, workspace)

    monkeypatch.setattr(store, "_write_published", interrupted)
    leave_edge(tmp_path, "a")
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped):
            publish(tmp_path)
        assert (tmp_path / "lineage.duckdb").is_file(), "the merge came to its end first"
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert begun == [0]
    monkeypatch.setattr(store, "_write_published", write)
    publish(tmp_path)
    assert edges(tmp_path) == [("a", "v")]


def test_publishing_waits_for_the_lock(tmp_path: Path):
    leave_edge(tmp_path, "a")
    with FileLock(tmp_path / "lineage/.lock"):
        script = f"from pathlib import Path; from tinyllava_core.lineage.store import publish; publish(Path({str(tmp_path)!r}))"
        process = subprocess.Popen([sys.executable, "-c", script])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.5)
        assert not (tmp_path / "lineage.duckdb").exists()
    assert process.wait(timeout=60) == 0
    assert edges(tmp_path) == [("a", "v")]


def test_a_working_database_that_is_open_elsewhere_is_told_not_thrown_away(tmp_path: Path):
    leave_edge(tmp_path, "a")
    publish(tmp_path)
    script = f"import duckdb, sys; c = duckdb.connect({str(tmp_path / 'lineage/work.duckdb')!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(BadInput, match=f"is open in another program.*PID {holder.pid}"):
            publish(tmp_path)
        holder.communicate()
    leave_edge(tmp_path, "b")
    publish(tmp_path)
    assert edges(tmp_path) == [("a", "v"), ("b", "v")]


def test_leaving_needs_no_lock(tmp_path: Path):
    leave_edge(tmp_path, "a")
    with FileLock(tmp_path / "lineage/.lock"):
        leave_edge(tmp_path, "b")
    assert sorted(path.name for path in (tmp_path / "lineage/fragments/edge").iterdir()) == ["a.parquet", "b.parquet"]


def test_a_full_disk_is_no_damage_leaves_the_published_file_and_no_half(small_disk, caplog):
    workspace = small_disk("9m")
    leave_edge(workspace, "a", "1")
    publish(workspace)
    (workspace / "other").write_bytes(bytes(shutil.disk_usage(workspace).free - 50_000))
    leave_edge(workspace, "b", "2")
    with pytest.raises(DiskFull, match=r"the lineage's database: the disk of .* is full"):
        publish(workspace)
    assert not caplog.records
    assert not list(workspace.rglob("*.partial*"))
    assert edges(workspace) == [("a", "1")]
    small_disk("20m", workspace)
    publish(workspace)
    assert edges(workspace) == [("a", "1"), ("b", "2")]
