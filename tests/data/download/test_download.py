import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.download.download import download
from tinyllava_core.data.manifest.local_files import beside, local_digest
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.record.rows import parse_points
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.benchmarks import benchmark

sys.path.insert(0, str(Path(__file__).parent))
from downloads import QUICK, failures, tree, zipped


def test_annotations_and_archives_come_to_their_places(tmp_path, server, manifest, call, photos):
    astronaut, coffee = photos["people/astronaut.jpg"], photos["coffee.png"]
    text = json.dumps([{"id": "1"}]).encode()
    server.files = {"/x/data.json": text, "/a.zip": zipped({"a/1.jpg": astronaut}), "/b.zip": zipped({"2.png": coffee})}
    found = manifest(
        annotations={"url": f"{server.url}/x/data.json", "format": "llava", "bytes": len(text)},
        images=[{"archive": {"url": f"{server.url}/a.zip"}}, {"archive": {"url": f"{server.url}/b.zip", "into": "b"}}],
    )
    told = []
    out, result = call(found, told.append)
    assert (out / result.annotations).read_bytes() == text
    assert result.annotations_sha256 == hashlib.sha256(text).hexdigest()
    assert tree(out / result.image_root) == {"a/1.jpg": astronaut, "b/2.png": coffee}
    assert (result.source, result.kind, result.licence) == ("mine", "source", "CC0")
    assert result.urls == f"{server.url}/x/data.json {server.url}/a.zip {server.url}/b.zip"
    assert (result.num_files, result.size_bytes) == (2, len(text) + len(astronaut) + len(coffee))
    assert (result.num_requested, result.num_failed) == (0, 0)
    assert failures(out) == []
    sums = {row["url"]: row["sha256"] for row in pq.read_table(out / "fetched.parquet").to_pylist()}
    assert sums[f"{server.url}/a.zip"] == hashlib.sha256(server.files["/a.zip"]).hexdigest()
    names = {progress.note.partition(" ")[0] for progress in told}  # behind the name: rate and time left
    assert names >= {"data.json", "a.zip", "b.zip"}
    assert not list((tmp_path / "cache" / "downloads").glob("mine*")), "nothing is kept twice"


def test_files_of_one_name_each_have_a_place_and_no_record_is_lost(server, manifest, call):
    """train/ and val/ with an annotations.json each: the last one was all that there was, without a word."""
    rows = {f"/{part}/a.json": json.dumps([{"id": part, "conversations": []}]).encode() for part in ("train", "val")}
    server.files = rows | {"/z.zip": zipped({"train/a.json": b"[]"})}
    files = [{"url": f"{server.url}{path}"} for path in rows]
    out, result = call(manifest(annotations={"files": files, "format": "llava"}))
    found = [json.loads(line) for line in (out / result.annotations).read_text().splitlines()]
    assert [(row["id"], row["_from"]["file"]) for row in found] == [("train", "train/a.json"), ("val", "val/a.json")]
    unpacked = {"url": f"{server.url}/z.zip", "unpack": True}
    with pytest.raises(BadInput, match=r"a\.json: 'a\.json' is there already, from another of the files"):
        call(manifest(annotations={"files": [unpacked, *files], "format": "llava"}))


def test_a_url_table_brings_images_and_keeps_what_failed(server, manifest, call, photos):
    table = [{"where": "pictures/1", "as": "p/1.jpg"}, {"where": "pictures/gone", "as": "p/2.jpg"}]
    server.files = {
        "/w/data.jsonl": b"{}\n",
        "/w/urls.jsonl": "\n".join(json.dumps(row) for row in table).encode(),
        "/w/pictures/1": photos["people/astronaut.jpg"],
    }
    columns = {"url_column": "where", "name_column": "as"}
    out, result = call(
        manifest(
            annotations={"url": f"{server.url}/w/data.jsonl", "format": "llava"},
            images=[{"url_table": {"url": f"{server.url}/w/urls.jsonl", **columns}}],
        )
    )
    assert result.annotations == "annotations.jsonl"
    assert tree(out / "images") == {"p/1.jpg": photos["people/astronaut.jpg"]}
    assert failures(out) == [("p/2.jpg", "http_404")]
    assert (result.num_requested, result.num_failed, result.num_files) == (2, 1, 1)


def test_the_sources_own_rows_may_be_the_table_and_say_which_bytes_are_meant(tmp_path, server, manifest, call, photos):
    """PixMo's shape: two rows about one picture, one whose link leads to another picture by now, one that is gone."""
    right, other = photos["people/astronaut.jpg"], photos["cats/chelsea.jpg"]
    server.files = {"/1": right, "/2": other}
    sums = [hashlib.sha256(right).hexdigest(), "b" * 64, "c" * 64]
    rows = [
        {
            "image_url": f"{server.url}/{number}",
            "image_sha256": sums[number - 1],
            "label": "cat",
            "count": 1,
            "points": [],
        }
        for number in (1, 1, 2, 3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    table = {"url_column": "image_url", "name_column": "image_sha256", "sha256_column": "image_sha256"}
    out, result = call(
        manifest(
            annotations={"path": "rows.parquet", "format": "points"},
            images=[{"url_table": {"of_annotations": True, **table}}],
            allow_hosts=["127.0.0.1"],
        )
    )
    assert tree(out / "images") == {sums[0]: right}
    assert failures(out) == [("b" * 64, "other_bytes"), ("c" * 64, "http_404")]
    assert (result.num_requested, result.num_failed) == (3, 2)
    first = json.loads((out / result.annotations).read_text().splitlines()[0])
    assert parse_points("mine", 0, first).images == (sums[0],)


def test_a_table_of_annotations_needs_annotations(manifest):
    with pytest.raises(BadInput, match="of_annotations: this manifest has none"):
        manifest(kind="images", licence="CC0", images=[{"url_table": {"of_annotations": True}}])


def test_a_text_only_source_needs_no_images(manifest, call, server):
    server.files = {"/d.json": b"[]"}
    out, result = call(manifest(annotations={"url": f"{server.url}/d.json", "format": "llava"}))
    assert (result.image_root, result.num_files) == ("images", 0)
    assert (out / "images").is_dir()


@pytest.mark.parametrize("what", ["annotations", "archive", "path"])
def test_a_wrong_checksum_is_one_line_with_file_expected_and_found(tmp_path, server, manifest, call, what):
    server.files = {"/d.json": b"[]", "/a.zip": zipped({})}
    (tmp_path / "d.json").write_bytes(b"[]")
    wrong = "ab" * 32
    annotations = {"format": "llava"} | ({"path": "d.json"} if what == "path" else {"url": f"{server.url}/d.json"})
    archive = {"url": f"{server.url}/a.zip"}
    (archive if what == "archive" else annotations)["sha256"] = wrong
    with pytest.raises(BadInput) as error:
        call(manifest(annotations=annotations, images=[{"archive": archive}]))
    name, data = ("a.zip", server.files["/a.zip"]) if what == "archive" else ("d.json", b"[]")
    expected = f"{name}: wrong checksum: expected sha256 {wrong}, found {hashlib.sha256(data).hexdigest()}"
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_remote_file_is_named(server, manifest, call):
    with pytest.raises(BadInput, match=r"d\.json: the server answered HTTP status 404"):
        call(manifest(annotations={"url": f"{server.url}/d.json", "format": "llava"}))


def test_an_evil_archive_is_refused(server, manifest, call):
    server.files = {"/d.json": b"[]", "/a.zip": zipped({"../../evil": b"x"})}
    annotations = {"url": f"{server.url}/d.json", "format": "llava"}
    with pytest.raises(BadInput, match="leaves the folder"):
        call(manifest(annotations=annotations, images=[{"archive": {"url": f"{server.url}/a.zip"}}]))


def test_kill_9_in_the_middle_then_again_fetches_only_what_is_missing(tmp_path, server, answer, manifest, call, photos):
    archive = zipped({f"{n}.jpg": os.urandom(300_000) for n in range(10)})
    server.files = {"/d.json": b"[]", "/a.zip": archive, "/b.zip": zipped({"b/1.jpg": photos["cats/chelsea.jpg"]})}
    server.first["/a.zip"] = [answer(cut_after=1_500_000), answer(wait_s=600)]
    found = manifest(
        annotations={"url": f"{server.url}/d.json", "format": "llava"},
        images=[{"archive": {"url": f"{server.url}/{name}.zip"}} for name in ("b", "a")],
    )
    caller = """
import sys
from pathlib import Path
from tinyllava_core.data.download.download import download
from tinyllava_core.data.manifest.local_files import beside, local_digest
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.record.rows import parse_points
folder = Path(sys.argv[1])
(folder / "killed").mkdir()
download(load(str(folder / "mine.yaml")), folder / "killed", folder / "cache")
"""
    process = subprocess.Popen([sys.executable, "-c", caller, str(tmp_path)])
    deadline, rest = time.monotonic() + 60, ("/a.zip", "bytes=1500000-")
    while rest not in server.asked:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    asked = len(server.asked)
    out, result = call(found)
    assert server.asked[asked:] == [rest], "what had come whole is not asked for again"
    assert result.num_files == 11
    assert hashlib.sha256(archive).hexdigest() in pq.read_table(out / "fetched.parquet")["sha256"].to_pylist()


def test_the_toy_world_comes_the_same_way_and_leaves_no_port_in_the_data(tmp_path, call, monkeypatch, photos):
    """A small stand-in for the toy world's tree, behind its own server."""
    import tinyllava_core.toyworld.server as toyworld

    root = tmp_path / "world"
    (root / "places").mkdir(parents=True)
    (root / "places" / "places.json").write_text("[]")
    (root / "places" / "1.jpg").write_bytes(photos["cats/chelsea.jpg"])
    rows = [{"url": "1.jpg", "name": "one.jpg"}, {"url": "2.jpg", "name": "two.jpg"}]
    (root / "places" / "urls.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.setattr(toyworld, "built", lambda cache: root)
    out, result = call(load("toy-places"))
    assert tree(out / "images") == {"one.jpg": photos["cats/chelsea.jpg"]}
    assert result.urls == "toyworld://places/places.json toyworld://places/urls.jsonl"
    lost = pq.read_table(out / "failures.parquet").to_pylist()
    assert [(row["url"], row["name"], row["reason"]) for row in lost] == [
        ("toyworld://places/2.jpg", "two.jpg", "http_404")
    ]
    urls = pq.read_table(out / "fetched.parquet")["url"].to_pylist()
    assert urls == ["toyworld://places/places.json", "toyworld://places/urls.jsonl"]


def test_an_image_set_is_a_download_without_annotations_whose_paths_begin_in_its_root(server, manifest, call, photos):
    astronaut, coffee = photos["people/astronaut.jpg"], photos["coffee.png"]
    server.files = {"/a.zip": zipped({"train/1.jpg": astronaut}), "/b.zip": zipped({"train/2.png": coffee})}
    archives = [{"archive": {"url": f"{server.url}/{name}.zip"}} for name in "ab"]
    out, result = call(manifest(kind="images", root="train", images=archives))
    assert (result.kind, result.annotations, result.annotations_sha256) == ("images", None, None)
    assert tree(out / result.image_root) == {"1.jpg": astronaut, "2.png": coffee}
    assert (result.num_files, result.size_bytes) == (2, len(astronaut) + len(coffee))


def test_a_root_that_is_not_in_the_archive_is_named_with_what_is(server, manifest, call):
    server.files = {"/a.zip": zipped({"val/1.jpg": b"x"})}
    archive = {"archive": {"url": f"{server.url}/a.zip"}}
    with pytest.raises(BadInput, match=r"image set 'mine': root 'train' is not in what was unpacked; there: val"):
        call(manifest(kind="images", root="train", images=[archive]))


def test_several_files_and_archives_come_into_one_folder_with_the_pictures_inside(server, manifest, call):
    server.files = {"/q.json": b"[1]", "/more.zip": zipped({"set/a.json": b"[2]", "set/images/1.png": b"x"})}
    files = [{"url": f"{server.url}/q.json"}, {"url": f"{server.url}/more.zip", "unpack": True}]
    out, result = call(manifest(kind="benchmark", scorer="pope", annotations={"files": files}))
    assert result.annotations == "annotations"
    assert tree(out / "annotations") == {"q.json": b"[1]", "set/a.json": b"[2]", "set/images/1.png": b"x"}
    assert result.size_bytes == 3 + 3 + 1


def test_of_an_archive_of_annotations_one_file_may_be_read(server, manifest, call):
    server.files = {"/vet.zip": zipped({"vet/q.json": b"[1]", "vet/images/1.png": b"x"})}
    annotations = {"url": f"{server.url}/vet.zip", "unpack": True, "root": "vet", "file": "q.json"}
    found = manifest(kind="benchmark", scorer="pope", annotations=annotations, images=[{"inside": "images"}])
    out, result = call(found)
    assert result.annotations == "annotations/vet/q.json"
    assert result.annotations_sha256 == hashlib.sha256(b"[1]").hexdigest()
    folder = beside(found.annotations, out / result.annotations)
    assert found.places(out, {}, folder).find("1.png") == out / "annotations" / "vet" / "images" / "1.png"


def test_a_file_that_changed_behind_its_url_is_refused_and_not_kept(tmp_path, server, manifest, call):
    server.files = {"/d.json": b"[]"}
    found = manifest(annotations={"url": f"{server.url}/d.json", "format": "llava"})
    call(found)
    call(found)
    server.files = {"/d.json": b"[1]"}
    with pytest.raises(BadInput, match=r"d\.json: is another file than when it was first downloaded"):
        call(found)
    assert not list((tmp_path / "cache" / "downloads").rglob("d.json"))


def test_an_image_set_says_how_many_files_were_expected(server, manifest, call):
    server.files = {"/a.zip": zipped({"1.png": b"x"})}
    _, result = call(manifest(kind="images", files=2, images=[{"archive": {"url": f"{server.url}/a.zip"}}]))
    assert (result.num_files, result.num_expected) == (1, 2)


def test_of_an_archive_only_what_is_asked_for_comes_out(server, manifest, call):
    server.files = {"/q.zip": zipped({"a_questions.json": b"[]", "b_questions.json": b"[]"})}
    server.files |= {"/i.zip": zipped({"deep/x/1.png": b"x", "deep/x/1.txt": b"y"})}
    annotations = {"url": f"{server.url}/q.zip", "unpack": True, "only": ["*b_questions.json"]}
    images = [{"archive": {"url": f"{server.url}/i.zip", "strip": "deep/x", "only": ["*.png"]}}]
    out, result = call(manifest(kind="benchmark", scorer="pope", annotations=annotations, images=images))
    assert tree(out / "annotations") == {"b_questions.json": b"[]"}
    assert tree(out / result.image_root) == {"1.png": b"x"}


def test_pictures_in_the_cells_of_a_benchmarks_file_are_taken_out_by_its_scorer(tmp_path, server, manifest, call):
    rows = [["index", "question", "A", "B", "answer", "image"]]
    rows += [["7", "Which?", "one", "two", "A", base64.b64encode(b"picture" * 20).decode()]]
    server.files = {"/dev.tsv": "\n".join("\t".join(row) for row in rows).encode()}
    found = manifest(
        kind="benchmark",
        scorer="mmbench",
        annotations={"url": f"{server.url}/dev.tsv"},
        images=[{"embedded": True}],
    )
    out, cache = tmp_path / "taken", tmp_path / "cache"
    out.mkdir()
    result = download(found, out, cache, patience=QUICK, take_out=benchmark("mmbench").write_pictures)
    assert tree(out / "images") == {"7.jpg": b"picture" * 20}
    assert result.num_files == 1
    with pytest.raises(BadInput, match="images: embedded, but its scorer takes no pictures out"):
        call(found)


def test_records_and_pictures_may_come_out_of_a_datasets_parquet(tmp_path, manifest, call, photos, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cat = photos["cats/chelsea.jpg"]
    rows = [
        {"id": "1", "image": "1.jpg", "picture": {"bytes": cat, "path": None}},
        {"id": "2", "image": "2.jpg", "picture": None},
    ]
    (tmp_path / "dataset").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "dataset" / "train-00000-of-00001.parquet")
    hub = {"repo": "./dataset"}
    found = manifest(
        annotations={"hub": hub | {"columns": ["id", "image"]}, "format": "llava"},
        images=[{"hub": hub | {"image_column": "picture", "name_column": "image"}}],
    )
    before = local_digest(found)
    out, result = call(found)
    assert result.annotations == "annotations.jsonl"
    assert (out / "annotations.jsonl").read_text() == '{"id": "1", "image": "1.jpg"}\n{"id": "2", "image": "2.jpg"}\n'
    assert tree(out / "images") == {"1.jpg": cat}
    assert failures(out) == [("2.jpg", "not_an_image")]
    assert (result.num_requested, result.num_failed, result.num_files) == (2, 1, 1)
    assert result.urls == "hub://./dataset/default/train hub://./dataset/default/train"
    pq.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "dataset" / "train-00000-of-00001.parquet")
    assert local_digest(found) != before
