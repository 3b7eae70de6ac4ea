"""Data in Parquet on a hub: from a local folder, from a hub on this machine, from the cache when the hub is away."""

import hashlib
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.download import hub as module
from tinyllava_core.data.download.hub import bring_images, bring_rows
from tinyllava_core.data.manifest.hub import HubImages, HubRows
from tinyllava_core.errors import BadInput

sys.path.insert(0, str(Path(__file__).parent))
from fake_hub import serving


def parquet(rows):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


@pytest.fixture
def rows(photos):
    cat, coffee = photos["cats/chelsea.jpg"], photos["coffee.png"]
    return [
        {"id": "7", "image": {"bytes": cat, "path": "a/cat.jpg"}, "file": "cats/1", "turns": ["What?", "A cat é."]},
        {"id": "8", "image": {"bytes": coffee, "path": None}, "file": "2.bin", "turns": ["And?", "Coffee."]},
        {"id": "9", "image": None, "file": "none", "turns": []},
    ]


@pytest.fixture
def folder(tmp_path, rows, monkeypatch):
    """A local folder of two Parquet files, as the hub lays them out; the library's cache is this test's own."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    home = tmp_path / "dataset" / "data"
    home.mkdir(parents=True)
    (home / "train-00000-of-00002.parquet").write_bytes(parquet(rows[:2]))
    (home / "train-00001-of-00002.parquet").write_bytes(parquet(rows[2:] or rows[:1]))
    return tmp_path


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_pictures_become_files_with_their_bytes_named_by_a_column_once(folder, photos, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # a local folder needs no hub
    hub, told = HubImages(repo="./dataset", name_column="file"), []
    found = bring_images(hub, folder, folder / "images", folder / "work", on_rows=lambda *at: told.append(at))
    cat, coffee = photos["cats/chelsea.jpg"], photos["coffee.png"]
    assert tree(folder / "images") == {"cats/1.jpg": cat, "2.bin": coffee}
    assert (found.num_rows, found.size_bytes) == (3, len(cat) + len(coffee))
    assert found.without_picture == ("none.jpg",)
    lines = f"cats/1.jpg\t{hashlib.sha256(cat).hexdigest()}\n2.bin\t{hashlib.sha256(coffee).hexdigest()}\n"
    assert found.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert told[-1] == (3, 3)
    assert not (folder / ".images.hub").exists()


def test_rows_become_json_lines_without_their_pictures(folder, rows):
    found = bring_rows(HubRows(repo="./dataset"), folder, folder / "rows.jsonl", folder / "work")
    lines = (folder / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{key: row[key] for key in ("id", "file", "turns")} for row in rows]
    assert "é" in lines[0]
    assert found.sha256 == hashlib.sha256((folder / "rows.jsonl").read_bytes()).hexdigest()
    bring_rows(HubRows(repo="./dataset", columns=("id",)), folder, folder / "ids.jsonl", folder / "work")
    assert (folder / "ids.jsonl").read_text() == '{"id": "7"}\n{"id": "8"}\n{"id": "9"}\n'


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"repo": "./nowhere"}, r"hub://\./nowhere/default/train: no folder .*nowhere"),
        ({"image_column": "imge"}, r"no column 'imge'; nearest: 'image'\. Columns: id, image, file, turns"),
        ({"split": "test"}, r"hub://\./dataset/default/test: ValueError: Unknown split"),
        ({"image_column": "id"}, r"row 0: column 'id': expected a picture, found str"),
        ({"name_column": "turns"}, r"row 0: turns = \['What\?', 'A cat é\.'\]: expected a relative file name"),
    ],
)
def test_a_fault_is_one_line(folder, fields, message):
    hub = HubImages(**{"repo": "./dataset"} | fields)
    with pytest.raises(BadInput, match=message) as error:
        bring_images(hub, folder, folder / "images", folder / "work")
    assert "\n" not in str(error.value)
    assert not (folder / "images").exists()


@pytest.mark.parametrize(
    ("name", "fault"), [("x" * 300, "File name too long"), ("1.jpg/2.jpg", "Not a directory|File")]
)
def test_a_name_that_no_disk_takes_is_one_line(folder, photos, name, fault):
    rows = [{"image": {"bytes": photos["coffee.png"], "path": None}, "file": one} for one in ("1.jpg", name)]
    (folder / "dataset" / "data" / "train-00000-of-00002.parquet").write_bytes(parquet(rows))
    (folder / "dataset" / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(
        BadInput, match=rf"row 1: no file here can be called .* \(({fault})[^)]*\); give another name_column"
    ):
        bring_images(HubImages(repo="./dataset", name_column="file"), folder, folder / "images", folder / "work")


def test_a_hub_is_asked_once_and_then_its_cache_also_when_it_is_away(folder, photos, monkeypatch):
    files = {f"data/{path.name}": path.read_bytes() for path in (folder / "dataset" / "data").iterdir()}
    hub = HubImages(repo="owner/name", name_column="file")
    with serving(files | {"README.md": b"# A dataset\n"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        first = bring_images(hub, folder, folder / "one", folder / "work")
        parts = [name for name in server.fetched if name.endswith(".parquet")]
        assert sorted(parts) == sorted(files), "each once"
        bring_images(hub, folder, folder / "two", folder / "work")
        assert [name for name in server.fetched if name.endswith(".parquet")] == parts, "the cache is used"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert bring_images(hub, folder, folder / "three", folder / "work") == first
    assert tree(folder / "one") == tree(folder / "two") == tree(folder / "three")
    assert tree(folder / "one")["cats/1.jpg"] == photos["cats/chelsea.jpg"]


def test_a_dataset_that_is_neither_cached_nor_to_be_had_is_one_error_that_says_what_to_do(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput) as error:
        bring_rows(HubRows(repo="owner/other"), folder, folder / "rows.jsonl", folder / "work")
    said = str(error.value)
    assert said.startswith(
        f"hub://owner/other/default/train: neither in the cache ({folder / 'hf'}) nor to be had (HF_HUB"
    )
    assert "or give `repo` a local folder of its Parquet files" in said
    assert "\n" not in said


def test_a_dataset_that_the_hub_does_not_have_names_the_hub(folder, monkeypatch):
    with serving({"README.md": b"# A dataset\n"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(BadInput, match=f"nor to be had \\(asked {server.url}\\): DatasetNotFoundError"):
            bring_rows(HubRows(repo="owner/other"), folder, folder / "rows.jsonl", folder / "work")


def test_the_library_is_asked_in_a_process_of_its_own():
    assert "datasets" not in vars(module)


@pytest.mark.parametrize("inside", [True, False])
def test_a_row_names_files_of_its_own_repo_and_no_other(tmp_path, photos, monkeypatch, inside):
    """A Parquet row may hold a path in a picture's place: `/etc/passwd` would be copied in among the pictures."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repo, secret = tmp_path / "dataset", tmp_path / "secret.txt"
    (repo / "data").mkdir(parents=True)
    secret.write_text("secret")
    (repo / "cat.jpg").write_bytes(photos["cats/chelsea.jpg"])
    named = str(repo / "cat.jpg") if inside else str(secret)
    (repo / "data" / "train.parquet").write_bytes(parquet([{"id": "7", "image": {"bytes": None, "path": named}}]))
    hub = HubImages(repo="./dataset")
    if inside:
        bring_images(hub, tmp_path, tmp_path / "images", tmp_path / "work")
        assert tree(tmp_path / "images") == {"cat.jpg": photos["cats/chelsea.jpg"]}
        return
    with pytest.raises(BadInput, match=r"row 0: column 'image': its path '.*secret.txt' leads out of the repo"):
        bring_images(hub, tmp_path, tmp_path / "images", tmp_path / "work")
    assert not (tmp_path / "images").exists()
