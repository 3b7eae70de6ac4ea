"""The planted tree: every fault under its own reason, every repair and note named, nothing lost - asked in SQL."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.planted import LIMITS, PlantedSource, plant

from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.record.reason import Note, Reason, Repair
from tinyllava_core.lineage.query import ask
from tinyllava_core.lineage.store import leave, open_read_only, publish
from tinyllava_core.results import InspectResult


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PlantedSource]:
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, sources: dict[str, PlantedSource]) -> Path:
    """A workspace with all three sources inspected and published."""
    home = tmp_path_factory.mktemp("workspace")
    for number, source in enumerate(sources.values()):
        inspected(source, home / "artifacts" / "inspect" / f"{number:016x}")
    publish(home)
    return home


def inspected(source: PlantedSource, out: Path, **options):
    out.mkdir(parents=True, exist_ok=True)
    folder, result = source.downloaded()
    return inspect_source(folder, result, "llava", 1.0, out, images=source.images, limits=LIMITS, **options)


def leave_inspection(workspace: Path, fingerprint: str, **told) -> None:
    """Leave the row of an inspection; counts that are not told are 0."""
    counts = {kept.name: 0 for kept in fields(InspectResult)}
    leave(workspace, "inspect", fingerprint, [{"fingerprint": fingerprint, **counts, **told}])


def rows(workspace: Path, sql: str) -> list[tuple]:
    with open_read_only(workspace) as connection:
        return connection.execute(sql).fetchall()


def test_everything_that_has_a_name_is_planted(sources):
    cases = [case for source in sources.values() for case in source.cases]
    assert {case.reason for case in cases} - {None} == set(Reason) - {Reason.UNFORESEEN}  # test_strange.py
    # turning by EXIF is asked for by an option, which excludes the note
    assert {repair for case in cases for repair in case.repairs} == set(Repair) - {Repair.ORIENTATION_APPLIED}
    assert {note for case in cases for note in case.notes} == set(Note)


@pytest.mark.parametrize("name", ["planted-captions", "planted-chat", "planted-share"])
def test_every_record_comes_out_as_it_was_planted(workspace, sources, name):
    cases = sources[name].cases
    dropped = rows(workspace, f"SELECT index, reason, record_json FROM dropped WHERE source = '{name}'")
    assert {index: reason for index, reason, _ in dropped} == {
        index: case.reason.value for index, case in enumerate(cases) if case.reason
    }
    assert all(json.loads(text) == cases[index].record for index, _, text in dropped)
    good = rows(workspace, f"SELECT index, repairs, notes FROM records WHERE source = '{name}'")
    assert {index: (repairs, notes) for index, repairs, notes in good} == {
        index: ([repair.value for repair in case.repairs], [note.value for note in case.notes])
        for index, case in enumerate(cases)
        if case.reason is None
    }


def test_good_and_quarantined_are_all(workspace, sources):
    sql = """
        SELECT source, count(*), count(DISTINCT record_id), count(DISTINCT index), max(index) + 1
        FROM (SELECT source, record_id, index FROM records UNION ALL SELECT source, record_id, index FROM dropped)
        GROUP BY source ORDER BY source
    """
    sizes = {name: len(source.cases) for name, source in sources.items()}
    assert rows(workspace, sql) == [(name, *[sizes[name]] * 4) for name in sorted(sizes)]


def test_the_shipped_query_finds_nothing_missing_and_nothing_twice(workspace, sources):
    for place, name in enumerate(sources):
        cases = sources[name].cases
        good = len(sources[name].good)
        told = {"num_records": len(cases), "num_good": good, "num_dropped": len(cases) - good, "num_left_out": 0}
        leave_inspection(workspace, f"{place:016x}", source=name, **told)
    publish(workspace)
    with open_read_only(workspace) as connection:
        found = ask(connection, "nothing_lost", {}).rows
    assert found == [
        (name, len(source.cases), len(source.good), len(source.cases) - len(source.good), 0, 0, 0)
        for name, source in sorted(sources.items())
    ]


def test_a_lost_record_and_one_that_is_there_twice_would_be_seen(tmp_path):
    """Five records: 0 good, 1 dropped, 1 good as well, 3 left out by the manifest; 2 and 4 are nowhere: one missing, net."""
    folder = tmp_path / "artifacts" / "inspect" / ("a" * 16)
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"source": ["s", "s"], "index": pa.array([0, 1], pa.int32())}), folder / "records.parquet")
    pq.write_table(pa.table({"source": ["s"], "index": pa.array([1], pa.int32())}), folder / "dropped.parquet")
    leave_inspection(tmp_path, "a" * 16, source="s", num_records=5, num_left_out=1)
    publish(tmp_path)
    with open_read_only(tmp_path) as connection:
        assert ask(connection, "nothing_lost", {}).rows == [("s", 5, 2, 1, 1, 1, 1)]


def test_a_source_without_one_good_record_is_seen_and_one_whose_rows_are_nowhere(tmp_path):
    folder = tmp_path / "artifacts" / "inspect" / ("a" * 16)
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"source": ["s"], "index": pa.array([0], pa.int32())}), folder / "dropped.parquet")
    leave_inspection(tmp_path, "a" * 16, source="s", num_records=1, num_dropped=1)
    leave_inspection(tmp_path, "b" * 16, source="t", num_records=2, num_good=2)
    publish(tmp_path)
    with open_read_only(tmp_path) as connection:
        assert ask(connection, "nothing_lost", {}).rows == [("s", 1, 0, 1, 0, 0, 0), ("t", 2, 0, 0, 0, 2, 0)]


def test_the_shipped_query_counts_what_was_mended(workspace, sources):
    with open_read_only(workspace) as connection:
        rows = ask(connection, "what_was_mended", {"source": "planted-chat"}).rows
    good = [case for case in sources["planted-chat"].cases if case.reason is None]
    repairs = Counter(str(repair) for case in good for repair in case.repairs)
    notes = Counter(str(note) for case in good for note in case.notes)
    assert {(what, word): count for _, what, word, count, _ in rows} == {
        **{("repair", word): count for word, count in repairs.items()},
        **{("note", word): count for word, count in notes.items()},
    }


def test_every_image_is_listed_once_with_what_it_is(workspace):
    sql = "SELECT mode, format, frames, reason, repaired_sha256 IS NULL FROM images WHERE path LIKE '%{}' AND source = 'planted-chat'"
    assert rows(workspace, sql.format("155611804.jpg")) == [("P", "GIF", 2, None, False)]
    assert rows(workspace, sql.format("cmyk.jpg")) == [("CMYK", "JPEG", 1, None, False)]
    assert rows(workspace, sql.format("deep.png")) == [("I;16", "PNG", 1, None, False)]
    assert rows(workspace, sql.format("031237.jpg")) == [("RGB", "PNG", 1, None, True)]
    assert rows(workspace, sql.format("2370799.jpg")) == [("RGB", "JPEG", 1, None, True)]
    assert rows(workspace, "SELECT max(n) FROM (SELECT count(*) AS n FROM images GROUP BY source, path)") == [(1,)]


def test_the_same_picture_under_two_names_shares_its_hashes(workspace):
    """031237.jpg is 039592986.png: the same bytes."""
    sql = "SELECT count(DISTINCT sha256), count(DISTINCT pixel_hash), count(DISTINCT phash) FROM images WHERE path IN ('ocr_vqa/images/031237.jpg', 'ocr_vqa/images/039592986.png')"
    assert rows(workspace, sql) == [(1, 1, 1)]


def test_its_manifests_load_and_find_the_same_files(sources):
    for source in sources.values():
        manifest = load(str(source.manifest))
        assert manifest.annotations.count == len(source.cases)
        assert manifest.places(source.home, {}, source.annotations.parent) == source.images


def test_more_good_records_may_be_asked_for(tmp_path):
    source = plant(tmp_path / "tree", more=30)["planted-chat"]
    found = inspected(source, tmp_path / "out")
    assert (found.num_records, found.num_good) == (len(source.cases), len(source.good))
    assert len(pq.read_table(tmp_path / "out" / "images.parquet")) >= 30
