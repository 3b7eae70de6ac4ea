"""Rows in Parquet, from a folder, to pieces of tars, to shards and a plan: nothing is lost."""

from __future__ import annotations

import base64
import io
import json
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tasks.download import download as download_task
from tasks.inspect import inspect
from tasks.mix import mix
from tasks.plan import plan
from tasks.run import Run
from tasks.shard import shard
from tasks.source import Source, source_images
from tinyllava_core.data.download.embedded import rows as rows_module
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.preview import preview
from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load

sys.path.insert(0, str(Path(__file__).parent))
from rows_world import QUICK, brought, files, manifest, parquet, world

pytestmark = pytest.mark.usefixtures("own_cache")


def test_every_row_is_a_line_and_every_picture_a_piece_of_a_tar_with_its_own_bytes(
    tmp_path, folder, photos, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out, result = brought(tmp_path, manifest(tmp_path, hub={"repo": "./set"}))
    lines = [json.loads(line) for line in (out / "annotations.jsonl").read_text().splitlines()]
    rows = [(name, at, row) for name, of in world(photos).items() for at, row in enumerate(of)]
    assert [line["_from"] for line in lines] == [
        {"subset": name.split("/")[0], "file": name, "row": at} for name, at, _ in rows
    ]
    places = ImagePlaces.one(out / "images")
    for line, (_, _, row) in zip(lines, rows, strict=True):
        assert [places.look_up(path).read_bytes() for path in line["images"] or ()] == (row.images or [])
        assert all(path.startswith(f"{line['_from']['subset']}/train-0000") for path in line["images"] or ())
    assert lines[0]["images"] == lines[2]["images"], "the same picture of one file is stored once"
    assert sorted(path.name for path in (out / "images").rglob("*") if path.is_file()) == [
        "train-00000-of-00001.tar", "train-00000-of-00002.tar", "train-00001-of-00002.tar",
    ]  # fmt: skip
    assert result.num_files == 3 + 4 + 1  # different pictures of each file, the broken one too


def made(workspace, source, monkeypatch):
    """Take the source to a plan with the stages' own tasks -> inspected folder, shards' folder."""
    monkeypatch.setattr("tasks.download.core.Patience", lambda: QUICK)
    overrides = {
        "sft.mix": [{"source": source, "filters": []}],
        "sft.max_lost_fraction": 0.9,
        "sft.contamination.action": None,
        "shard.records_per_shard": 3,
        "launch.data_processes": 1,
    }
    run = Run(run_id="rows", workspace=workspace, recipe=load("toy", overrides))
    downloaded = download_task.fn(run, source)
    inspected = inspect.fn(run, source, downloaded, 0.9, {})
    images = source_images(source, downloaded, {})
    found = {source: Source(downloaded=downloaded, inspected=inspected, images=images)}
    shards = shard.fn(run, "sft", mix.fn(run, "sft", found, {}), found)
    plan.fn(run, "sft", shards)
    return inspected.folder, shards.folder


def test_from_a_manifest_to_a_plan_offline_every_oddity_is_a_row_with_its_reason(tmp_path, folder, photos, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    manifest(tmp_path, hub={"repo": "./set"})
    inspected, shards = made(tmp_path / "work", str(tmp_path / "fine.yaml"), monkeypatch)
    rows = [(name, at, row) for name, of in world(photos).items() for at, row in enumerate(of)]
    good = {row["index"]: row for row in pq.read_table(inspected / "records.parquet").to_pylist()}
    bad = {row["index"]: row["reason"] for row in pq.read_table(inspected / "dropped.parquet").to_pylist()}
    assert bad == {index: row.reason for index, (_, _, row) in enumerate(rows) if row.reason}
    assert sorted(good) == [index for index, (_, _, row) in enumerate(rows) if row.reason is None]
    for index, row in good.items():
        name, at, given = rows[index]
        assert (row["subset"], row["file"], row["row"]) == (name.split("/")[0], name, at)
        assert row["component"] == ("charts" if name.startswith("ai2d") else "sharegpt4v-coco")
        assert row["notes"] == given.notes
        assert row["repairs"] == []
        relevance = next(score for score in row["scores"] if score["name"] == "relevance")
        assert relevance["of_answers"] == (given.ratings or [None] * len(given.texts))
        assert relevance["of_record"] == min((one for one in given.ratings or () if one is not None), default=None)
    shown = preview(load_manifest(str(tmp_path / "fine.yaml")), tmp_path / "work", 20, 0, False).shown
    assert sorted(len(one.pictures) for one in shown) == [0, 0, 1, 1, 1, 1, 1, 3]
    assert all(picture.jpeg for one in shown for picture in one.pictures)
    reader = ShardReader(shards)
    told = pq.read_table(shards / "index.parquet", columns=["record_id"])["record_id"].to_pylist()
    assert len(told) == len(good)
    for at, record_id in enumerate(told):
        assert reader.images(at) == (rows[int(record_id[-8:])][2].images or []), "its own bytes, in its own order"


def test_a_row_group_of_any_size_is_read_in_small_batches(tmp_path, photos, monkeypatch):
    """The limit of a batch set to one row's size: as many batches as rows, from one row group."""
    given = [row for of in world(photos).values() for row in of]
    table = pq.read_table(pa.BufferReader(parquet(given)))
    pq.write_table(table, tmp_path / "big.parquet", row_group_size=100)
    batches = []
    real = pq.ParquetFile.iter_batches

    def counted(self, *args, **keys):
        for batch in real(self, *args, **keys):
            batches.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    monkeypatch.setattr(rows_module, "_BATCH_BYTES", 4000)
    assert len(list(rows_module.rows(tmp_path / "big.parquet"))) == len(given)
    assert max(batches) <= 4
    assert sum(batches) == len(given)


def rows_of(tmp_path, annotations, embedded, name="mine"):
    """Bring a local file or folder -> lines, image places."""
    written = {"kind": "source", "name": name, "licence": "none", "annotations": annotations}
    (tmp_path / f"{name}.yaml").write_text(
        yaml.safe_dump(written | {"images": [{"embedded": True}] if embedded else []})
    )
    out, _ = brought(tmp_path, load_manifest(str(tmp_path / f"{name}.yaml")), f"out-{name}")
    lines = [json.loads(line) for line in (out / "annotations.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "_from"} for line in lines], ImagePlaces.one(
        out / "images"
    )


def test_tables_and_cocos_captions_become_lines(tmp_path):
    (tmp_path / "a.csv").write_text('image,caption\n1.jpg,"a cat, asleep"\n2.jpg,é\n')
    (tmp_path / "a.tsv").write_text("image\tcaption\n1.jpg\ta cat, asleep\n2.jpg\té\n")
    wanted = [{"image": "1.jpg", "caption": "a cat, asleep"}, {"image": "2.jpg", "caption": "é"}]
    assert rows_of(tmp_path, {"path": "a.csv"}, False, "csv")[0] == wanted
    assert rows_of(tmp_path, {"path": "a.tsv"}, False, "tsv")[0] == wanted
    coco = {
        "info": {},
        "images": [{"id": 7, "file_name": "7.jpg"}],
        "annotations": [{"id": 1, "image_id": 7, "caption": "a cat"}, {"id": 2, "image_id": 8, "caption": "lost"}],
    }
    (tmp_path / "captions.json").write_text(json.dumps(coco))
    assert rows_of(tmp_path, {"path": "captions.json"}, False, "coco")[0] == [
        {"id": 1, "image": "7.jpg", "caption": "a cat"},
        {"id": 2, "image": "8", "caption": "lost"},
    ]


def test_pictures_in_data_urls_and_base64_are_taken_out_and_other_texts_are_left(tmp_path, photos):
    cat, said = photos["cats/chelsea.jpg"], "data: what I meant"
    text = base64.b64encode(cat).decode()
    url = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{text}"}}
    items = [
        {"messages": [{"role": "user", "content": [url, {"type": "text", "text": said}]}, {"role": "assistant", "content": "A"}]},
        {"image": text, "caption": "base64 alone"},
        {"image": "data:image/png;base64,????", "caption": "broken"},
        {"image": "1.jpg", "caption": "\ud83d", "number": 10**30},
    ]  # fmt: skip
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    lines, places = rows_of(tmp_path, {"path": "chat.jsonl"}, True)
    taken = lines[0]["messages"][0]["content"]
    assert taken[1]["text"] == said
    assert taken[0]["image_url"]["url"] == lines[1]["image"] == f"chat.tar/512-{len(cat)}.jpg"
    assert places.look_up(lines[1]["image"]).read_bytes() == cat
    assert places.look_up(lines[2]["image"]).read_bytes() == b"", "inspect will say empty_image"
    assert lines[3] == items[3], "what no row of orjson's could hold is left for inspect to judge"


def test_two_files_whose_pictures_would_come_into_one_tar_are_refused(tmp_path, photos):
    """The second tar took the place of the first, and every record of the first file showed a picture of the second."""
    (tmp_path / "set").mkdir()
    for name, photo in (("a.json", "cats/chelsea.jpg"), ("a.jsonl", "coffee.png")):
        row = {"image": base64.b64encode(photos[photo]).decode(), "caption": photo}
        (tmp_path / "set" / name).write_text(json.dumps([row] if name == "a.json" else row))
    with pytest.raises(BadInput, match=r"a\.json and a\.jsonl would both have their pictures in a\.tar; rename one"):
        rows_of(tmp_path, {"path": "set"}, True)


def test_a_row_that_python_cannot_hold_costs_itself_alone(tmp_path):
    text = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.array([0, 2, 4, 6], pa.int32()).buffers()[1], pa.py_buffer(b"ok\xff\xfeok")]
    )
    when = pa.array([0, 0, 1 << 40], pa.timestamp("s"))  # the last one is in the year 36,812
    pq.write_table(pa.table({"caption": text, "when": when}), tmp_path / "a.parquet")
    lines, _ = rows_of(tmp_path, {"path": "a.parquet"}, False)
    assert lines[0] == {"caption": "ok", "when": "1970-01-01T00:00:00"}
    assert lines[1]["unreadable"].startswith("UnicodeDecodeError: ")
    assert lines[2] == {"unreadable": "OverflowError: date value out of range"}


def test_an_object_of_bytes_that_are_none_is_left_as_it_is(tmp_path):
    items = [{"image": {"bytes": "abc", "path": "x"}}, {"image": {"bytes": [1], "path": "x"}}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, items)))
    assert rows_of(tmp_path, {"path": "a.jsonl"}, True)[0] == items


def test_a_tar_of_webdatasets_layout_is_rows_of_its_keys(tmp_path, photos):
    """Source of the layout: webdataset's grouping, up to the first dot; LLaVA-558K's tars have the messages as a list."""
    cat, coffee = photos["cats/chelsea.jpg"], photos["coffee.png"]
    said = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "The cat."}]
    members = {
        "a/0001.0.jpg": cat, "a/0001.1.png": coffee, "a/0001.json": json.dumps(said).encode(),
        "a/0002.json": json.dumps({"caption": "no picture", "images": ["x"]}).encode(),
        "a/0003.jpg": cat, "a/0003.txt": b"a cat",
    }  # fmt: skip
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    lines, places = rows_of(tmp_path, {"path": "shard-0.tar"}, True)
    assert [line["id"] for line in lines] == ["a/0001", "a/0002", "a/0003"]
    assert lines[0]["messages"] == said
    assert [places.look_up(path).read_bytes() for path in lines[0]["images"]] == [cat, coffee]
    assert lines[1] == {"id": "a/0002", "caption": "no picture", "images": ["x"]}
    assert lines[2]["caption"] == "a cat"
    assert lines[2]["images"] == lines[0]["images"][:1], "stored once"


def test_a_packed_tar_behind_a_url_is_rows_too_and_does_not_stay(tmp_path, server, photos):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in (("1.jpg", photos["cats/chelsea.jpg"]), ("1.txt", b"a cat")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    server.files["/pairs.tar.gz"] = packed.getvalue()
    written = {"name": "mine", "annotations": {"url": f"{server.url}/pairs.tar.gz"}, "images": [{"embedded": True}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(written | {"allow_hosts": ["127.0.0.1"]}))
    out, _ = brought(tmp_path, load_manifest(str(tmp_path / "mine.yaml")))
    (line,) = (json.loads(text) for text in (out / "annotations.jsonl").read_text().splitlines())
    assert line["caption"] == "a cat"
    assert ImagePlaces.one(out / "images").look_up(line["images"][0]).read_bytes() == photos["cats/chelsea.jpg"]
    assert not list(out.glob("*.gz"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.parquet", b"PAR1 no more", r"a\.parquet: broken: .*; download it again or mend it"),
        ("a.csv", b"image,caption\n1.jpg\n", r"a\.csv, line 2: another number of columns than the head has"),
        ("a.csv", b"image,caption\n\xff,x\n", r"a\.csv: broken: 'utf-8' codec can't decode"),
        ("a.csv", b"image,caption,caption\n1.jpg,x,y\n", r"a\.csv, line 1: column 'caption' stands twice in the head"),
        ("a.json", b'{"images": [], "annotations": [{"id": 1, "bbox": []}]}', r"a\.json: one object, and not COCO's"),
        ("a.json", b'{"images": []}', r"a\.json: one object, and not COCO's captions .*KeyError"),
        ("a.tar", b"not a tar", r"a\.tar: neither a zip nor a tar"),
        ("a.rows", b"", r"a\.rows: expected a file of rows \(\.parquet, "),
    ],
)
def test_a_broken_file_of_rows_is_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=message) as error:
        rows_of(tmp_path, {"path": name}, True)
    assert "\n" not in str(error.value)


def test_one_odd_row_of_a_file_costs_itself_alone(tmp_path, photos):
    """Each of these ended its whole file, some with a traceback."""
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": []}, 3], "annotations": [
        {"id": 1, "image_id": [1], "caption": "x"}, {"id": 2}, 7, {"id": 3, "image_id": 1, "caption": "a cat"},
    ]}  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    lines, _ = rows_of(tmp_path, {"path": "coco.json"}, False, "coco")
    assert [list(line) for line in lines[:3]] == [["unreadable"]] * 3
    assert lines[3] == {"id": 3, "image": "a.jpg", "caption": "a cat"}

    (tmp_path / "long.csv").write_text(f"image,caption\n1.jpg,{'x' * 200_000}\n2.jpg,ok\n")
    lines, _ = rows_of(tmp_path, {"path": "long.csv"}, False, "long")
    assert [len(line["caption"]) for line in lines] == [200_000, 2]
    (tmp_path / "quote.tsv").write_text('image\tcaption\n1.jpg\t"Stop" says the sign\n2.jpg\t"open\n')
    lines, _ = rows_of(tmp_path, {"path": "quote.tsv"}, False, "quote")
    assert [line["caption"] for line in lines] == ['"Stop" says the sign', '"open']

    with tarfile.open(tmp_path / "pairs.tar", "w") as tar:
        cat = photos["cats/chelsea.jpg"]
        for name, data in {
            "a.jpg": cat, "a.json": b'{"caption": "x"', "b.txt": b"\xff", "b.jpg": cat, "c.jpg": cat, "c.txt": b"a cat",
        }.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    lines, _ = rows_of(tmp_path, {"path": "pairs.tar"}, True, "pairs")
    assert ["unreadable" in line for line in lines] == [True, True, False]
    assert "member 'a.json': " in lines[0]["unreadable"]
    assert lines[2]["caption"] == "a cat"


def test_bytes_in_rows_of_a_manifest_without_embedded_pictures_say_what_to_write(tmp_path, photos):
    (tmp_path / "a.parquet").write_bytes(files(photos)["ai2d_merged/train-00000-of-00002.parquet"])
    with pytest.raises(BadInput, match=r"a\.parquet, row 0: it holds bytes; say images: \[\{embedded: true\}\]"):
        rows_of(tmp_path, {"path": "a.parquet"}, False)


def test_a_piece_of_a_tar_is_found_only_where_the_tar_has_it(tmp_path):
    (tmp_path / "x.tar").write_bytes(bytes(range(100)))
    places = ImagePlaces.one(tmp_path)
    assert places.look_up("x.tar/10-5.jpg").read_bytes() == bytes(range(10, 15))
    assert places.look_up("x.tar/95-5.jpg").read_bytes() == bytes(range(95, 100))
    for path in ("x.tar/95-6.jpg", "y.tar/0-1.jpg", "x.tar/a.jpg", "../x.tar/0-1.jpg", "x.tar/-1-5.jpg"):
        assert places.look_up(path) is None
    assert places.find("x.tar/10-5.jpg") is None, "it is no file of its own"
