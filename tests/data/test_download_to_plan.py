"""From faulty data to a plan, with the stages' own tasks: nothing is lost, and the same bytes come out however it is made."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data.planted import LIMITS, PlantedSource, plant

from tasks.download import download
from tasks.inspect import inspect
from tasks.mix import mix
from tasks.plan import plan
from tasks.run import Run
from tasks.shard import shard
from tasks.source import Source, source_images
from tinyllava_core.artifact import Artifact
from tinyllava_core.lineage.store import open_read_only, publish
from tinyllava_core.recipe import load

FILES = ("mix/*/mix.parquet", "shard/*/*.tar", "shard/*/*.parquet", "shard/*/README.md", "plan/*/*.parquet")


def made(workspace: Path, sources: dict[str, PlantedSource], processes: int) -> dict[str, Artifact]:
    """Run every data stage of sft on the planted tree."""
    entries = [{"source": str(source.manifest)} for source in sources.values()]
    overrides = {
        "sft.mix": entries,
        "sft.max_lost_fraction": 0.9,
        "sft.contamination.action": None,
        "inspect": LIMITS.model_dump(),
        "shard.records_per_shard": 7,
        "launch.data_processes": processes,
    }
    run = Run(run_id=f"planted-{processes}", workspace=workspace, recipe=load("toy", overrides))
    found: dict[str, Source] = {}
    for entry in run.recipe.sft.mix:
        downloaded = download.fn(run, entry.source)
        inspected = inspect.fn(run, entry.source, downloaded, 0.9, {})
        images = source_images(entry.source, downloaded, {})
        found[entry.source] = Source(downloaded=downloaded, inspected=inspected, images=images)
    mixed = mix.fn(run, "sft", found, {})
    shards = shard.fn(run, "sft", mixed, found)
    planned = plan.fn(run, "sft", shards)
    publish(workspace)
    return {"mix": mixed, "shard": shards, "plan": planned}


def bytes_of(workspace: Path) -> dict[str, bytes]:
    files = [file for pattern in FILES for file in (workspace / "artifacts").glob(pattern)]
    return {str(file.relative_to(workspace)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def sources(home: Path) -> dict[str, PlantedSource]:
    return plant(home / "tree", more=20)


@pytest.fixture(scope="module")
def alone(home: Path, sources: dict[str, PlantedSource]) -> Path:
    """The workspace that one process made."""
    made(home / "alone", sources, 1)
    return home / "alone"


def test_what_is_made_is_found_again(alone: Path, sources: dict[str, PlantedSource]) -> None:
    assert not any(artifact.made for artifact in made(alone, sources, 1).values())


def test_two_processes_make_the_same_tars_and_plan(home: Path, alone: Path, sources: dict[str, PlantedSource]) -> None:
    made(home / "two", sources, 2)
    one, two = bytes_of(alone), bytes_of(home / "two")
    assert list(one) == list(two)
    assert len([name for name in one if name.endswith(".tar")]) > 3
    assert one == two


def test_every_record_is_planned_or_voided_or_dropped_in_sql(alone: Path, sources: dict[str, PlantedSource]) -> None:
    with open_read_only(alone) as connection:
        (asked,) = connection.execute(
            "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM dropped), (SELECT sum(num_records) FROM inspect)"
        ).fetchall()
        lost = connection.execute(
            "SELECT record_id FROM records EXCEPT (SELECT record_id FROM plans UNION SELECT record_id FROM voided)"
        ).fetchall()
        twice = connection.execute("SELECT position FROM plans GROUP BY position HAVING count(*) > 1").fetchall()
    good, dropped, all_of_them = asked
    cases = [case for source in sources.values() for case in source.cases]
    assert good + dropped == all_of_them == len(cases)
    assert good == sum(case.reason is None for case in cases)
    assert (lost, twice) == ([], [])


def test_mended_pictures_are_stored_mended_and_say_so(alone: Path, sources: dict[str, PlantedSource]) -> None:
    (index,) = (alone / "artifacts" / "shard").glob("[0-9a-f]*/index.parquet")
    rows = {row["record_id"]: row for row in pq.read_table(index).to_pylist()}
    chat = sources["planted-chat"]
    changed = {
        number: rows[f"planted-chat-{number:08d}"]["image_transforms"][0]
        for number, case in enumerate(chat.cases)
        if case.reason is None and rows[f"planted-chat-{number:08d}"]["num_images"] == 1
    }
    for number, transform in changed.items():
        told = set(transform.split("; ")) if transform else set()
        assert told <= {repair.value for repair in chat.cases[number].repairs}, number
    assert (
        sum(transform is not None for transform in changed.values()) == 7
    )  # all odd pictures but the merely misnamed one
    assert {field.split(".")[-1] for row in rows.values() for field in row["image_fields"]} <= {"jpg", "png", "webp"}
