"""One stage: found or made, remembered row by row, said in one line, shown in Prefect."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tasks.record import numbers, record
from tasks.run import Run
from tinyllava_core.artifact import Artifact
from tinyllava_core.lineage.store import open_read_only
from tinyllava_core.results import MixResult, ShardResult, TrainResult

MIXED = MixResult(
    num_sources=1,
    num_records=1200,
    num_distinct_records=1200,
    num_images=1100,
    num_text_only=100,
    num_left_out=0,
    num_duplicates=0,
    num_contaminated=0,
    seed=42,
)
SHARDED = ShardResult(num_shards=3, num_records=1200, size_bytes=2_500_000, sha256="0" * 64)
TRAINED = TrainResult(
    stage="sft",
    num_steps=10,
    num_records=100,
    num_tokens=1000,
    first_loss=3.21987,
    last_loss=1.5,
    held_out_loss=None,
    best_step=None,
    seconds=9.0,
    num_lives=2,
    num_parameters=2000,
    num_trained=1500,
    checkpoint_sha256="0" * 64,
    device="cpu",
    world_size=1,
    engine="torch",
    attention="loop",
)


def mixed(run: Run) -> Artifact:
    return record(run, "mix", "sft", 1, {"seed": 42}, {}, lambda folder: MIXED)


def sharded(run: Run) -> Artifact:
    return record(run, "shard", "sft", 2, {"records_per_shard": 500}, {"mix": mixed(run)}, lambda folder: SHARDED)


def rows(run: Run, sql: str) -> list[tuple]:
    with open_read_only(run.workspace) as connection:
        return connection.execute(sql).fetchall()


def test_a_made_stage_leaves_its_rows_at_once(run: Run) -> None:
    artifact = sharded(run)
    mix = mixed(run)
    assert rows(run, "SELECT stage, version, folder, spec_json FROM artifact WHERE stage = 'shard'") == [
        ("shard", 2, str(artifact.folder), '{"records_per_shard": 500}')
    ]
    assert rows(run, "SELECT * FROM edge") == [(artifact.fingerprint, "mix", mix.fingerprint)]
    assert rows(run, "SELECT fingerprint, num_shards, size_bytes FROM shard") == [(artifact.fingerprint, 3, 2_500_000)]
    assert rows(run, "SELECT run_id, stage, name, made FROM stage WHERE stage = 'shard'") == [
        ("toy-1", "shard", "sft", True)
    ]


def test_a_found_stage_is_not_made_again_and_is_a_stage_of_the_new_run(run: Run) -> None:
    first = mixed(run)
    other = Run(run_id="toy-2", workspace=run.workspace, recipe=run.recipe)

    def never(folder: Path) -> MixResult:
        raise AssertionError("made again")

    second = record(other, "mix", "sft", 1, {"seed": 42}, {}, never)
    assert (second.fingerprint, second.made) == (first.fingerprint, False)
    record(other, "shard", "sft", 2, {}, {"mix": second}, lambda folder: SHARDED)  # publishes
    found = rows(run, "SELECT run_id, made FROM stage WHERE stage = 'mix' ORDER BY run_id")
    assert found == [("toy-1", True), ("toy-2", False)]


def test_rows_that_were_lost_are_left_again(run: Run) -> None:
    """A kill between an artifact's rename and its rows must not hide it for ever."""
    artifact = mixed(run)
    for table in ("mix", "artifact"):
        (run.workspace / "lineage" / "fragments" / table / f"{artifact.fingerprint}.parquet").unlink()
    (run.workspace / "lineage.duckdb").unlink()
    (run.workspace / "lineage" / "work.duckdb").unlink()
    mixed(run)
    assert rows(run, "SELECT fingerprint FROM artifact JOIN mix USING (fingerprint)") == [(artifact.fingerprint,)]


def test_both_training_stages_share_the_table_train(run: Run) -> None:
    record(run, "sft", "sft", 1, {}, {}, lambda folder: TRAINED)
    assert rows(run, "SELECT stage, num_lives FROM train") == [("sft", 2)]


def test_a_stage_says_one_line_with_its_numbers(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tinyllava"):
        sharded(run)
        sharded(run)
    made, cached = (line for line in caplog.messages if line.startswith("shard"))
    assert made.startswith("shard     sft              3 shards, 1,200 records, 2.5 MB, made in ")
    assert cached == "shard     sft              3 shards, 1,200 records, 2.5 MB, cached"


def test_numbers_are_said_in_words(run: Run) -> None:
    artifact = record(run, "sft", "sft", 1, {}, {}, lambda folder: TRAINED)
    assert numbers(artifact) == "10 steps, first loss 3.22, last loss 1.5, 1,500 trained, started 2 times"


def test_a_failed_stage_leaves_nothing(run: Run) -> None:
    def fail(folder: Path) -> MixResult:
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        record(run, "mix", "sft", 1, {}, {}, fail)
    assert not (run.workspace / "lineage").exists()
    assert mixed(run).made


def test_a_found_stage_is_seen_as_such_in_prefect(prefect_server: str, run: Run) -> None:
    from prefect import flow, get_client, task
    from prefect.cache_policies import NO_CACHE
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.runtime import flow_run
    from waiting import wait_until

    @task(task_run_name="mix: sft", cache_policy=NO_CACHE)
    def stage() -> Artifact:
        return mixed(run)

    @flow
    def twice() -> str:
        stage()
        stage()
        return str(flow_run.id)

    ours = FlowRunFilter(id=FlowRunFilterId(any_=[twice()]))

    def names() -> list[str]:
        with get_client(sync_client=True) as client:
            return sorted(task_run.name for task_run in client.read_task_runs(flow_run_filter=ours))

    wait_until(lambda: names() == ["mix: sft", "mix: sft (cached)"], seconds=20)
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts()
    shown = [str(artifact.data) for artifact in artifacts if artifact.key == "mix-sft"]
    assert any(text.startswith("### mix sft\n\nmade in ") for text in shown)
    assert any(text.startswith("### mix sft\n\ncached, in ") for text in shown)
