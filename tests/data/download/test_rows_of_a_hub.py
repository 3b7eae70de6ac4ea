"""Rows in Parquet on a hub on this machine: pinned, checked, file by file, and what a person has to do in one line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tinyllava_core import cli
from tinyllava_core.errors import BadInput

sys.path.insert(0, str(Path(__file__).parent))
from fake_hub import COMMIT, serving
from rows_world import brought, files, manifest, tree, world

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_hub_gives_the_same_bytes_as_a_folder_and_is_pinned_to_a_commit(tmp_path, folder, photos, monkeypatch):
    there, _ = brought(tmp_path, manifest(tmp_path, hub={"repo": "./set"}), "folder")
    source = manifest(tmp_path, hub={"repo": "owner/name"})
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(files(photos)) as hub:
        hub.lfs = True
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        here, _ = brought(tmp_path, source, "hub")
        assert "Bearer hf_secret" in hub.tokens
        assert sorted(name for name in hub.fetched if name.endswith(".parquet")) == sorted(world(photos)), "each once"
    assert (here / "annotations.jsonl").read_bytes() == (there / "annotations.jsonl").read_bytes()
    assert tree(here / "images") == tree(there / "images")
    assert json.loads((tmp_path / "cache" / "revisions.json").read_text()) == {"owner/name@main": COMMIT}
    noted = pq.read_table(here / "fetched.parquet").to_pylist()
    assert {row["url"]: row["sha256"] for row in noted} == {
        f"hub://owner/name@{COMMIT}/{name}": hashlib.sha256(data).hexdigest()
        for name, data in files(photos).items()
        if name.endswith(".parquet")
    }
    assert not list(tmp_path.rglob("*.parquet.incomplete"))
    assert not (tmp_path / "cache" / "downloads" / "fine").exists(), "nothing of the Parquet is left"


def test_what_was_brought_before_a_hub_failed_is_not_fetched_again(tmp_path, photos, monkeypatch):
    source, last = manifest(tmp_path, hub={"repo": "owner/name"}), "sharegpt4v(coco)/train-00000-of-00001.parquet"
    with serving(files(photos)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.broken[last] = [100] * 1000  # the connection is closed in mid-shard, at every attempt
        with pytest.raises(
            ConnectionError, match="hub://owner/name/default/train: gave up after 1 attempts: trouble: "
        ):
            brought(tmp_path, source)
        before = [name for name in hub.fetched if name.startswith("ai2d")]
        assert len(before) == 2
        hub.broken.clear()
        out, _ = brought(tmp_path, source, "again")
        assert [name for name in hub.fetched if name.startswith("ai2d")] == before
    assert len((out / "annotations.jsonl").read_text().splitlines()) == 11


def test_only_the_subsets_that_are_asked_for_are_fetched(tmp_path, photos, monkeypatch):
    source = manifest(tmp_path, hub={"repo": "owner/name", "subsets": ["sharegpt4v(coco)"]})
    with serving(files(photos)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        out, _ = brought(tmp_path, source)
        assert not [name for name in hub.fetched if name.startswith("ai2d")]
        assert len((out / "annotations.jsonl").read_text().splitlines()) == 4
        with pytest.raises(
            BadInput, match=r"no subset 'ai2d'; nearest: 'ai2d_merged'\. It has: ai2d_merged, sharegpt4v"
        ):
            brought(tmp_path, manifest(tmp_path, hub={"repo": "owner/name", "subsets": ["ai2d"]}), "none")


def test_a_file_with_another_checksum_than_the_hub_says_is_an_error_before_any_of_its_rows_is_used(
    tmp_path, photos, monkeypatch
):
    name = "ai2d_merged/train-00000-of-00002.parquet"
    for lfs in (True, False):
        with serving(files(photos)) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            hub.lfs, hub.wrong = lfs, {name}
            with pytest.raises(
                BadInput, match=f"{name}: wrong checksum: the hub says [0-9a-f]+, found [0-9a-f]+; run again"
            ):
                brought(tmp_path, manifest(tmp_path, hub={"repo": "owner/name"}), f"out-{lfs}")
    assert not list((tmp_path / "cache" / "downloads").rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("refused", "fields", "message"),
    [
        ((403, {"X-Error-Code": "GatedRepo"}), {}, "gated: accept its terms at .*/datasets/owner/name, then sign in"),
        ((401, {"X-Error-Code": "RepoNotFound"}), {}, "/datasets/owner/name is not there, or private"),
        ((404, {"X-Error-Code": "RevisionNotFound"}), {"revision": "v9"}, "the hub has no revision 'v9' of it"),
    ],
)
def test_what_a_person_has_to_do_about_a_hub_is_one_line(tmp_path, photos, monkeypatch, refused, fields, message):
    with serving(files(photos)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.refused = refused
        with pytest.raises(BadInput, match=message) as error:
            brought(tmp_path, manifest(tmp_path, hub={"repo": "owner/name"} | fields))
    assert "\n" not in str(error.value)


def test_offline_the_librarys_cache_does_and_without_it_the_error_says_what_to_do(tmp_path, photos, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = manifest(tmp_path, hub={"repo": "owner/name"})
    with pytest.raises(
        BadInput, match=r"HF_HUB_OFFLINE is set, and it is not whole in .*; unset it, or give `repo` a local folder"
    ):
        brought(tmp_path, source)
    snapshot = tmp_path / "hf" / "hub" / "datasets--owner--name" / "snapshots" / COMMIT
    for name, data in files(photos).items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(data)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    out, _ = brought(tmp_path, source, "again")
    assert len((out / "annotations.jsonl").read_text().splitlines()) == 11


def test_a_hubs_files_are_listed_with_their_sizes_before_one_is_fetched(tmp_path, photos, monkeypatch, capsys):
    manifest(tmp_path, hub={"repo": "owner/name"})
    given = files(photos)
    with serving(given) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        words = ["data", "files", str(tmp_path / "fine.yaml"), "--workspace", str(tmp_path), "--format"]
        assert cli.main([*words, "csv"]) == 0
        found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert cli.main([*words, "table"]) == 0
        assert f"owner/name at {COMMIT}: 3 files, " in capsys.readouterr().out
        assert [name for name in hub.fetched if name.endswith(".parquet")] == []
    sizes = {name: len(data) for name, data in given.items()}
    assert [(row["subset"], row["component"], row["files"], int(row["bytes"])) for row in found] == [
        ("ai2d_merged", "charts", "2", sum(size for name, size in sizes.items() if name.startswith("ai2d"))),
        ("sharegpt4v(coco)", "sharegpt4v-coco", "1", sizes["sharegpt4v(coco)/train-00000-of-00001.parquet"]),
    ]
    assert not (tmp_path / "cache").exists(), "looking pins nothing"
    assert cli.main(["data", "files", "llava-sft-665k"]) == 2
    assert "its rows are not a hub's" in capsys.readouterr().err
