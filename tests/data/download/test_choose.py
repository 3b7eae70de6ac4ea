"""A part of a big data set: chosen from its texts, and of its files nothing fetched but the texts and the chosen row groups."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tasks.choose import choose as choose_task
from tasks.download import download as download_task
from tasks.inspect import inspect
from tasks.run import Run
from tasks.source import check_manifests
from tinyllava_core.data.download.embedded.chosen import TABLE, read_chosen
from tinyllava_core.data.download.embedded.parquet_part import part_rows, write_part
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.data.mix.choose import choose
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load
from tinyllava_core.settings.inspect import Inspect
from tinyllava_core.settings.mix import Choose

sys.path.insert(0, str(Path(__file__).parent))
from fake_hub import COMMIT, serving
from rows_world import QUICK, tree
from rows_world import brought as download_rows

pytestmark = pytest.mark.usefixtures("own_cache")
GROUPS, ROWS = 6, 5  # row groups of a file, rows of a row group
BYTES = 150_000  # of a picture: 60 of them are 9 MB, and their texts some kB
NAMES = ["charts/train-00000-of-00002.parquet", "charts/train-00001-of-00002.parquet"]


def picture(file: int, row: int) -> bytes:
    """Bytes that no one looks at, of their own for each row."""
    return f"{file} {row} ".encode() * (BYTES // len(f"{file} {row} "))


def parquet(file: int) -> bytes:
    """Write a file as FineVision has them; the answer of every row 3 of a row group is missing, row 4 is badly rated."""
    rows = [
        {
            "images": [{"bytes": picture(file, row), "path": "1.jpg"}],
            "texts": [{"user": f"What is row {row}?", "assistant": None if row % ROWS == 3 else f"Row {row}."}],
            "relevance_ratings": [1 if row % ROWS == 4 else 5],
        }
        for row in range(GROUPS * ROWS)
    ]
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    text = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string())]))
    schema = pa.schema([("images", kind), ("texts", text), ("relevance_ratings", pa.list_(pa.int64()))])
    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows, schema), buffer, row_group_size=ROWS, compression="none", use_dictionary=False
    )
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files():
    return {name: parquet(number) for number, name in enumerate(NAMES)}


def manifest(tmp_path, repo, **more):
    written = {"kind": "source", "name": "fine", "licence": "none", "images": [{"embedded": True}], "annotations": {"hub": {"repo": repo}}}  # fmt: skip
    (tmp_path / "fine.yaml").write_text(yaml.safe_dump(written | more))
    return load_manifest(str(tmp_path / "fine.yaml"))


def in_a_folder(tmp_path, files):
    for name, data in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return manifest(tmp_path, "./set")


def chosen(tmp_path, source, records, filters=(), name="chosen", seed=1):
    (tmp_path / name).mkdir()
    asked, cache = Choose(records=records, filters=filters), tmp_path / "cache"
    result = choose(source, asked, seed, Inspect(), tmp_path / name, cache, patience=QUICK, processes=1)
    return result, read_chosen(tmp_path / name / TABLE)[0]


def brought(tmp_path, source, table, name="out"):
    out, _ = download_rows(tmp_path, source, name, tmp_path / table / TABLE)
    return [json.loads(line) for line in (out / "annotations.jsonl").read_text().splitlines()]


def test_of_a_hubs_files_come_the_texts_of_all_and_the_pictures_of_the_chosen_row_groups_alone(
    tmp_path, files, monkeypatch
):
    source, all_bytes = manifest(tmp_path, "owner/name"), sum(map(len, files.values()))
    with serving(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        result, groups = chosen(tmp_path, source, 10)
        texts = sum(stop - start for _, start, stop in hub.ranges)
        assert texts < 0.03 * all_bytes, "footers and text columns"
        assert not any(stop - start > BYTES for _, start, stop in hub.ranges), "no answer holds a picture"
        hub.ranges.clear()
        lines = brought(tmp_path, source, "chosen")
    assert result.num_rows == 2 * GROUPS * ROWS
    assert result.num_refused == 2 * GROUPS, "every row 3 has no answer"
    assert result.size_bytes_in_all == pytest.approx(all_bytes, rel=0.01)
    assert [len(group.rows) for group in groups] == [4, 4, 2], "whole row groups, and the beginning of the last"
    assert result.num_chosen == len(lines) == 10
    assert result.commit == COMMIT
    came = sum(stop - start for _, start, stop in hub.ranges)
    assert result.size_bytes <= came < result.size_bytes + 0.03 * all_bytes
    for name, start, stop in hub.ranges:
        if stop - start > BYTES:
            within = pq.ParquetFile(io.BytesIO(files[name])).metadata
            bounds = [of_group(within.row_group(group.row_group)) for group in groups if group.file == name]
            assert any(first <= start and stop <= last for first, last in bounds)
    places = ImagePlaces.one(tmp_path / "out" / "images")
    for line in lines:
        file, row = NAMES.index(line["_from"]["file"]), line["_from"]["row"]
        assert line["texts"][0]["assistant"] == f"Row {row}."
        assert [places.look_up(path).read_bytes() for path in line["images"]] == [picture(file, row)]
    assert not list((tmp_path / "cache").rglob("*.parquet")), "nothing of the Parquet is left"
    folder = in_a_folder(tmp_path, files)
    assert chosen(tmp_path, folder, 10, name="of-folder")[1] == groups
    brought(tmp_path, folder, "of-folder", "copy")
    assert tree(tmp_path / "copy" / "images") == tree(tmp_path / "out" / "images"), "a folder gives the same bytes"
    assert (tmp_path / "copy" / "annotations.jsonl").read_bytes() == (
        tmp_path / "out" / "annotations.jsonl"
    ).read_bytes()


def of_group(group):
    """Give where a row group begins and ends in its file."""
    starts = [group.column(at).data_page_offset for at in range(group.num_columns)]
    sizes = [group.column(at).total_compressed_size for at in range(group.num_columns)]
    return min(starts), max(start + size for start, size in zip(starts, sizes, strict=True))


def test_a_smaller_number_is_the_beginning_of_a_bigger_one_and_another_seed_takes_others(tmp_path, files):
    folder = in_a_folder(tmp_path, files)
    few = [(group.file, row) for group in chosen(tmp_path, folder, 6, name="few")[1] for row in group.rows]
    many = [(group.file, row) for group in chosen(tmp_path, folder, 17, name="many")[1] for row in group.rows]
    others = [
        (group.file, row) for group in chosen(tmp_path, folder, 17, name="others", seed=2)[1] for row in group.rows
    ]
    assert (len(few), len(many)) == (6, 17)
    assert many[:6] == few
    assert set(others) != set(many)
    everything = chosen(tmp_path, folder, 1000, name="everything")[0]
    assert everything.num_chosen == 2 * GROUPS * (ROWS - 1), "all that have an answer"


def test_filters_over_texts_and_scores_choose_and_what_is_refused_is_kept_under_its_reason(tmp_path, files):
    result, groups = chosen(tmp_path, in_a_folder(tmp_path, files), 9, ("scores['relevance'] >= 4",))
    assert [len(group.rows) for group in groups] == [3, 3, 3], "rows 0, 1, 2 of each row group"
    assert {row % ROWS for group in groups for row in group.rows} == {0, 1, 2}
    assert result.num_left_out == 2 * GROUPS
    refused = pq.read_table(tmp_path / "chosen" / "refused.parquet").to_pylist()
    assert {row["reason"] for row in refused} == {"empty_answer"}
    assert sorted(json.loads(row["record_json"])["_from"]["row"] % ROWS for row in refused) == [3] * 2 * GROUPS


def test_what_came_before_a_hub_failed_is_not_fetched_again(tmp_path, files, monkeypatch):
    _, groups = chosen(tmp_path, in_a_folder(tmp_path, files), 8, seed=2)  # the same of a folder as of a hub
    first, second = groups
    assert first.file != second.file
    source = manifest(tmp_path, "owner/name")
    monkeypatch.setattr("tinyllava_core.data.download.embedded.source.AT_ONCE", 1)
    with serving(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.failing[second.file] = 409  # which the hub's library does not ask again
        with pytest.raises(ConnectionError, match="gave up after 1 attempts"):
            brought(tmp_path, source, "chosen")
        hub.failing.clear()
        before = len(hub.ranges)
        assert len(brought(tmp_path, source, "chosen", "again")) == 8
    assert [name for name, _, _ in hub.ranges[:before] if name.endswith(".parquet")] == [first.file] * before
    assert not any(name == first.file for name, _, _ in hub.ranges[before:])


def test_a_recipe_that_chooses_is_inspected_like_any_source_and_its_numbers_are_not_the_manifests(tmp_path, folder):
    manifest(tmp_path, "./set", components=[{"name": "charts", "subsets": ["ai2d*"], "count": 7}])
    word = str(tmp_path / "fine.yaml")
    overrides = {"sft.mix": [{"source": word, "choose": 4}], "launch.data_processes": 1}
    run = Run(run_id="few", workspace=tmp_path / "work", recipe=load("toy", overrides))
    table = choose_task.fn(run, word)
    downloaded = download_task.fn(run, word, table)
    inspected = inspect.fn(run, word, downloaded, 0.9, {})
    groups, _ = read_chosen(table.folder / TABLE)
    wanted = [(group.file, row) for group in groups for row in group.rows]
    good = pq.read_table(inspected.folder / "records.parquet").to_pylist()
    bad = pq.read_table(inspected.folder / "dropped.parquet").to_pylist()
    assert len(wanted) == len(good) + len(bad) == 4
    assert {(row["file"], row["row"]) for row in good} <= set(wanted)
    assert all(picture["sha256"] for row in good for picture in row["images"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sft.mix": [{"source": "WORD", "choose": {"records": 4, "filters": ["min_side > 9"]}}]},
         "filter 'min_side > 9': min_side is not known before the pictures are here; put it among the source's own `filters`"),
        ({"sft.mix": [{"source": "WORD", "choose": 4}], "pretrain.mix": [{"source": "WORD", "choose": 5}]},
         "its stages choose otherwise of it, and it is brought here once; write the same `choose` in each"),
        ({"sft.mix": [{"source": "toy-chat", "choose": 4}]},
         "choose of source 'toy-chat': it is for Parquet of a hub or a folder of its layout"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_made_is_one_line_before_anything_is_done(tmp_path, files, overrides, message):
    in_a_folder(tmp_path, files)
    word = str(tmp_path / "fine.yaml")
    entries = {key: [entry | {"source": entry["source"].replace("WORD", word)} for entry in mix] for key, mix in overrides.items()}  # fmt: skip
    with pytest.raises(BadInput) as error:
        check_manifests(load("toy", entries))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_filters_that_leave_nothing_are_an_error(tmp_path, files):
    with pytest.raises(BadInput, match=r"choose of source 'fine': no record is left by its filters \(num_turns > 9\)"):
        chosen(tmp_path, in_a_folder(tmp_path, files), 5, ("num_turns > 9",))


def test_bytes_that_are_not_read_stand_empty_where_they_are_and_null_stays_null(tmp_path):
    """Worked by hand: structures in lists, a structure, plain bytes, a column of structures of bytes alone."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    alone, pairs = pa.struct([("bytes", pa.binary())]), pa.map_(pa.string(), pa.string())
    kinds = {
        "images": pa.list_(kind),
        "image": kind,
        "plain": pa.binary(),
        "alone": alone,
        "pairs": pairs,
        "text": pa.string(),
    }
    schema = pa.schema(kinds.items())
    rows = [
        {"images": [{"bytes": b"x", "path": "1"}, None], "image": {"bytes": b"y", "path": None}, "plain": b"z", "alone": {"bytes": b"a"}, "pairs": [("a", "b")], "text": "t"},
        {"images": None, "image": None, "plain": b"z", "alone": {"bytes": b"a"}, "pairs": None, "text": None},
        {"images": [], "image": None, "plain": b"z", "alone": {"bytes": b"a"}, "pairs": [], "text": ""},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "a.parquet", row_group_size=2)
    write_part(tmp_path / "a.parquet", tmp_path / "texts.parquet")
    empty = {"plain": b"", "alone": {"bytes": b""}}
    assert list(part_rows(tmp_path / "texts.parquet")) == [
        (0, rows[0] | empty | {"images": [{"bytes": b"", "path": "1"}, None], "image": {"bytes": b"", "path": None}}),
        (1, rows[1] | empty),
        (2, rows[2] | empty),
    ]
    write_part(tmp_path / "a.parquet", tmp_path / "second.parquet", [1])
    assert list(part_rows(tmp_path / "second.parquet")) == [(2, rows[2])]
    pq.write_table(pa.table({"images": pa.array([[b"x", b"y"]], pa.list_(pa.binary()))}), tmp_path / "b.parquet")
    with pytest.raises(BadInput, match="column 'images' is a list of bytes alone, whose number is not known"):
        write_part(tmp_path / "b.parquet", tmp_path / "none.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(BadInput, match=r"none\.parquet: not a readable Parquet file"):
        write_part(tmp_path / "c.parquet", tmp_path / "none.parquet")


def test_a_file_that_the_datasets_library_wrote_is_read_so_too(tmp_path):
    """Not written here: a column of pictures, a column of lists of them, null and empty ones, its metadata in the file."""
    import datasets

    def shown(number):
        return {"bytes": b"\xff\xd8\xff" + bytes([number]) * 5_000, "path": None}

    rows = [
        {"image": shown(n) if n % 4 else None, "images": [None, [], [shown(n)], [shown(n), shown(n + 1)]][n % 4], "texts": [{"user": f"{n}", "assistant": "a"}]}
        for n in range(40)
    ]  # fmt: skip
    said = datasets.List({"user": datasets.Value("string"), "assistant": datasets.Value("string")})
    kinds = {"image": datasets.Image(), "images": datasets.List(datasets.Image()), "texts": said}
    datasets.Dataset.from_list(rows, features=datasets.Features(kinds)).to_parquet(tmp_path / "theirs.parquet")
    write_part(tmp_path / "theirs.parquet", tmp_path / "texts.parquet")
    assert (tmp_path / "texts.parquet").stat().st_size < 0.1 * (tmp_path / "theirs.parquet").stat().st_size
    for (number, row), whole in zip(part_rows(tmp_path / "texts.parquet"), rows, strict=True):
        assert row["texts"] == whole["texts"] == [{"user": f"{number}", "assistant": "a"}]
        assert (row["image"] is None) == (whole["image"] is None)
        assert (row["images"] is None, len(row["images"] or ())) == (
            whole["images"] is None,
            len(whole["images"] or ()),
        )
