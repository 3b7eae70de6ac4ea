"""The SQL files against the dataclasses, and the views with and without files."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path

import pyarrow as pa
import pytest
from small_workspace import (
    BLIND,
    CATS,
    CATS_DOWN,
    PLAN,
    SEEN,
    TALK,
    TALK_DOWN,
    TRAIN,
    folder,
    jsonl,
    leave_artifact,
    leave_result,
    named,
    parquet,
)

from tinyllava_core.lineage import views
from tinyllava_core.lineage.store import leave, open_read_only, publish, rebuild
from tinyllava_core.lineage.tables import file_tables, schema_tables
from tinyllava_core.results import RESULTS, DownloadResult

SQL_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}


def fetched(workspace: Path, sql: str) -> list[tuple]:
    with open_read_only(workspace) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("stage", RESULTS)
def test_a_stage_table_is_its_result_dataclass_with_a_fingerprint_in_front(stage: str):
    kinds = typing.get_type_hints(RESULTS[stage])
    fields = {field.name: SQL_TYPES[plain(kinds[field.name])] for field in dataclasses.fields(RESULTS[stage])}
    assert list(schema_tables()[stage].columns.items()) == [("fingerprint", "VARCHAR"), *fields.items()]


def plain(kind: type) -> type:
    """`str | None` -> `str`."""
    if isinstance(kind, types.UnionType):
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
    return kind


def test_every_table_and_view_says_what_it_is(made_once: Path):
    comments = fetched(
        made_once,
        "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'lineage' "
        "UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal",
    )
    assert len(comments) == len(schema_tables()) + len(file_tables()) + len(
        ("source", "run_state", "score", "score_clean", "asked", "ledger", "publication")
    )
    assert [name for name, comment in comments if not comment] == []


def test_every_view_over_files_knows_its_files():
    assert views.FILES.keys() == file_tables().keys()


def test_without_files_every_view_is_empty_and_typed_as_with_files(made_once: Path, tmp_path: Path):
    leave(tmp_path, "run_end", "r", named("run_id ended_at state", ("r", None, "Failed")))
    described = (
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = 'lineage' ORDER BY ALL"
    )
    assert fetched(tmp_path, described) == fetched(made_once, described)
    for name in (*file_tables(), "source", "score", "ledger"):
        assert fetched(tmp_path, f"SELECT count(*) FROM {name}") == [(0,)]


def test_views_put_artifacts_of_a_stage_side_by_side(made_once: Path):
    records = fetched(
        made_once, "SELECT fingerprint, record_id, index, images[1].sha256[:2], turns[2].text FROM records ORDER BY ALL"
    )
    assert records == [
        (CATS, "cats-00000000", 0, "aa", "A cat."),
        (CATS, "cats-00000001", 1, "bb", "A cat."),
        (CATS, "cats-00000002", 2, "aa", "A cat."),
        (TALK, "talk-00000001", 1, None, "A cat."),
    ]
    assert fetched(made_once, "SELECT fingerprint, stage, max(step) FROM steps GROUP BY ALL ORDER BY stage") == [
        (TRAIN["pretrain"], "pretrain", 1),
        (TRAIN["sft"], "sft", 2),
    ]
    items = fetched(made_once, "SELECT fingerprint, question_id, answer, score FROM items ORDER BY fingerprint")
    assert items == [(SEEN, "7", '["yes","yep"]', 1.0), (BLIND, "7", '["yes","yep"]', 0.0)]
    kept = "SELECT cluster, facets, counts, unparsed FROM items"
    assert fetched(made_once, kept) == [("a.png", ["random"], [1.0], False)] * 2
    subscores = "SELECT name, value, ci_low, ci_high, n FROM subscores ORDER BY value"
    assert fetched(made_once, subscores) == [("random.f1", 0.0, 0.0, 100.0, 1), ("random.f1", 100.0, 0.0, 100.0, 1)]
    assert fetched(made_once, "SELECT metadata ->> '$.k' FROM answers") == [("1",), ("1",)]


def test_times_are_utc(made_once: Path):
    """12:00 at +02:00 is 10:00 UTC."""
    assert fetched(made_once, "SELECT DISTINCT CAST(started_at AS VARCHAR) FROM lives") == [("2026-01-01 10:00:00",)]
    assert fetched(made_once, "SELECT CAST(started_at AS VARCHAR) FROM run") == [("2026-01-01 10:00:00",)]


def test_a_column_that_a_file_lacks_is_null_and_one_that_nobody_declared_is_not_shown(workspace: Path):
    mine, other = "b1" + "0" * 14, "b2" + "0" * 14
    parquet(workspace, "mix", mine, "mix", [{"position": 9, "colour": "red"}], {"position": pa.int32()})
    jsonl(workspace, "sft", other, "steps", [{"step": 4, "mood": "fine"}])
    assert fetched(workspace, f"SELECT * FROM mixes WHERE fingerprint = '{mine}'") == [
        (mine, 9, None, None, None, None, None, None)
    ]
    assert fetched(workspace, f"SELECT step, loss FROM steps WHERE fingerprint = '{other}'") == [(4, None)]


def test_a_folder_that_is_still_being_made_is_not_seen(workspace: Path):
    rebuild(workspace)
    partial = "." + "b1" + "0" * 14 + ".partial"
    parquet(workspace, "mix", partial, "mix", [{"position": 9}])
    assert fetched(workspace, "SELECT count(*) FROM mixes WHERE position = 9") == [(0,)]


def test_the_ledger_has_every_planned_place_of_a_step_that_was_taken_once(workspace: Path):
    """sft step 2 was taken in life 1, the others in life 0; a step that was planned and not taken is not in it."""
    rows = fetched(
        workspace, "SELECT step, slot, record_id, life, plan_fingerprint FROM ledger WHERE stage = 'sft' ORDER BY ALL"
    )
    assert rows == [
        (0, 0, "cats-00000000", 0, PLAN["sft"]),
        (0, 1, "talk-00000001", 0, PLAN["sft"]),
        (1, 0, "cats-00000001", 0, PLAN["sft"]),
        (1, 1, "talk-00000001", 0, PLAN["sft"]),
        (2, 0, "cats-00000002", 1, PLAN["sft"]),
    ]
    steps = folder(workspace, "sft", TRAIN["sft"]) / "steps.jsonl"
    steps.write_text("".join(steps.read_text().splitlines(keepends=True)[:1]))
    assert fetched(workspace, "SELECT count(*) FROM ledger WHERE stage = 'sft'") == [(2,)]


def test_source_sets_a_download_beside_its_inspection(made_once: Path):
    rows = fetched(
        made_once,
        "SELECT source, kind, num_good, num_dropped, download_fingerprint, inspect_fingerprint FROM source ORDER BY 1",
    )
    assert rows[0] == ("cats", "source", 3, 0, CATS_DOWN, CATS)
    assert rows[1][:4] == ("pope", "benchmark", None, None)
    assert rows[2] == ("talk", "source", 1, 1, TALK_DOWN, TALK)


def test_an_image_set_is_one_source_however_many_inspections_looked_at_it(workspace: Path):
    pictures = "d4" + "0" * 14
    leave_artifact(workspace, pictures, "download", {})
    of_disk = {"annotations": None, "annotations_sha256": None, "image_root": "images", "num_files": 3}
    counts = {"num_expected": 3, "size_bytes": 297, "num_requested": 0, "num_failed": 0}
    found = DownloadResult(source="coco", kind="images", licence="CC0-1.0", urls="", **of_disk, **counts)
    leave_result(workspace, "download", pictures, found)
    for inspected, down in ((CATS, CATS_DOWN), (TALK, TALK_DOWN)):
        leave_artifact(workspace, inspected, "inspect", {"download": down, "images coco": pictures})
    publish(workspace)
    rows = fetched(workspace, "SELECT source, kind, num_good FROM source ORDER BY 1")
    assert rows == [("cats", "source", 3), ("coco", "images", None), ("pope", "benchmark", None), ("talk", "source", 1)]


def test_score_names_the_run_and_the_training(made_once: Path):
    rows = fetched(made_once, "SELECT run_id, recipe, benchmark, blind, score, checkpoint FROM score ORDER BY blind")
    assert rows == [
        ("run-1", "toy", "pope", False, 90.0, TRAIN["sft"]),
        ("run-1", "toy", "pope", True, 50.0, TRAIN["sft"]),
    ]


def test_a_workspace_with_an_awkward_name_works(tmp_path: Path):
    home = tmp_path / "it's [my] work*space"
    leave(home, "run_end", "r", named("run_id ended_at state", ("r", None, "Failed")))
    parquet(home, "mix", "b1" + "0" * 14, "mix", [{"position": 9}])
    publish(home)
    assert fetched(home, "SELECT position FROM mixes") == [(9,)]
