import os
import pickle
from pathlib import Path

import pytest
import yaml

from tinyllava_core.data.files.places import ImagePlace
from tinyllava_core.data.manifest import manifest as module
from tinyllava_core.data.manifest.local_files import local_path
from tinyllava_core.data.manifest.manifest import known, load
from tinyllava_core.errors import BadInput

GOOD = {
    "name": "mine",
    "annotations": {"path": "data/mine.json", "format": "llava"},
    "images": [{"folder": "pictures"}],
}
SHA = "0" * 64
COUNTED = {"path": "a", "format": "llava", "count": 5}
PARTS = [{"name": "a", "prefix": "x", "count": 3}, {"name": "b", "text_only": True, "count": 1}]


@pytest.fixture
def written(tmp_path):
    def write(*, file: str = "mine.yaml", **changes) -> str:
        data = {key: value for key, value in (GOOD | changes).items() if value is not None}
        (tmp_path / file).write_text(yaml.safe_dump(data))
        return str(tmp_path / file)

    return write


@pytest.mark.parametrize("name", known())
def test_each_shipped_manifest_loads_by_its_name(name):
    assert load(name).name == name


def test_the_toy_world_is_shipped():
    assert {"toy-captions", "toy-chat", "toy-places", "toy-pope", "toy-vqa"} <= set(known())


def test_local_paths_start_at_the_manifests_folder(written, tmp_path):
    manifest = load(written())
    assert manifest.folders == [tmp_path / "pictures"]
    assert manifest.local("data/mine.json") == tmp_path / "data" / "mine.json"
    assert manifest.local("/somewhere/else") == Path("/somewhere/else")
    assert manifest.urls() == ["data/mine.json", "pictures"]
    assert pickle.loads(pickle.dumps(manifest)).folders == [tmp_path / "pictures"], "a task may run in another process"


def test_all_urls_are_listed_as_written(written):
    images = [{"archive": {"url": "http://a/b.zip"}}, {"url_table": {"url": "toyworld://c/d.jsonl"}}]
    manifest = load(written(annotations={"url": "https://a/b.json", "format": "llava"}, images=images))
    assert manifest.urls() == ["https://a/b.json", "http://a/b.zip", "toyworld://c/d.jsonl"]
    assert manifest.folders == []


def test_places_are_in_the_manifests_order_own_images_once_and_sets_by_name(written, tmp_path):
    images = [
        {"set": ["sam-9k", "sam"], "prefix": "sam/images"},
        {"archive": {"url": "http://a/b.zip"}},
        {"folder": "more", "prefix": "more", "try_extensions": [".gif"]},
        {"archive": {"url": "http://a/c.zip", "into": "c"}},
        {"inside": "pictures", "prefix": "p"},
    ]
    manifest = load(written(images=images))
    assert manifest.sets == ["sam-9k", "sam"]
    own, sets = tmp_path / "own", {"sam": tmp_path / "sam", "sam-9k": tmp_path / "9k"}
    assert manifest.places(own, sets, tmp_path / "beside").places == (
        ImagePlace(prefix="sam/images", folder=tmp_path / "9k"),
        ImagePlace(prefix="sam/images", folder=tmp_path / "sam"),
        ImagePlace(folder=own),
        ImagePlace(prefix="more", folder=tmp_path / "more", try_extensions=(".gif",)),
        ImagePlace(prefix="p", folder=tmp_path / "beside" / "pictures"),
    )


def test_components_of_unknown_size_may_be_what_is_missing_to_the_count(written):
    parts = [*PARTS, {"name": "c", "prefix": "y"}]
    assert [one.name for one in load(written(annotations=COUNTED, components=parts)).components] == ["a", "b", "c"]


def test_an_unknown_name_lists_the_known_and_the_nearest():
    with pytest.raises(
        BadInput, match=r"unknown source, image set or benchmark 'toy-caption'; nearest: 'toy-captions'\. Known: "
    ):
        load("toy-caption")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.yaml': no such file"):
        load(str(tmp_path / "none.yaml"))


def test_a_shipped_manifest_is_named_like_its_file(written, tmp_path, monkeypatch):
    written(file="other.yaml")
    monkeypatch.setattr(module, "MANIFESTS", tmp_path)
    with pytest.raises(BadInput, match="name 'mine' must be the file's own name, 'other'"):
        load("other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licens": "MIT"}, "unknown key 'licens'; nearest: 'licence'. Known here: kind, name,"),
        (
            {"annotations": {"path": "a", "format": "llava", "sha": SHA}},
            "unknown key 'annotations.sha'; nearest: 'sha256'. Known here: url, path, files,",
        ),
        (
            {"images": [{"foldr": "x"}]},
            "unknown key 'images.0.foldr'; nearest: 'folder'. Known here: archive, url_table, hub, folder, set",
        ),
        (
            {"images": [{"archive": {"url": "http://a/b.zip", "onto": "x"}}]},
            "unknown key 'images.0.archive.onto'; nearest: 'into'",
        ),
        (
            {"annotations": {"format": "llava"}},
            "annotations: expected exactly one of url, path, files, hub; found none",
        ),
        (
            {"annotations": {"format": "llava", "url": "http://a/b", "path": "c"}},
            "annotations: expected exactly one of url, path, files, hub; found url and path",
        ),
        (
            {"images": [{}]},
            "images.0: expected exactly one of archive, url_table, hub, folder, set, inside, embedded; found none",
        ),
        (
            {"images": [{"folder": "a", "archive": {"url": "http://a/b.zip"}}]},
            "images.0: expected exactly one of archive, url_table, hub, folder, set, inside, embedded; found archive and folder",
        ),
        (
            {"images": [{"folder": "a"}, {"folder": "b"}]},
            "images: entries 0 and 1 both stand for the prefix ''; give each",
        ),
        (
            {
                "images": [
                    {"set": "coco", "prefix": "a"},
                    {"archive": {"url": "http://a/b.zip"}},
                    {"set": "c", "prefix": "a"},
                ]
            },
            "images: entries 0 and 2 both stand for the prefix 'a'",
        ),
        ({"images": [{"set": "coco", "prefix": "../a"}]}, "images.0: prefix: '../a': expected relative folders"),
        ({"images": [{"set": "coco", "prefix": "a/"}]}, "images.0: prefix: 'a/': expected relative folders"),
        ({"images": [{"archive": {"url": "http://a/b.zip"}, "prefix": "a"}]}, "an archive has `into`"),
        ({"images": [{"set": "coco", "try_extensions": ["gif"]}]}, "images.0.try_extensions.0 = 'gif'"),
        ({"components": [{"name": "a"}]}, "component 'a': expected exactly one of prefix, subsets, text_only: true"),
        ({"components": [{"name": "a", "prefix": "x", "text_only": True}]}, "component 'a': expected exactly one of"),
        ({"components": [{"name": "other", "prefix": "x"}]}, "component 'other' is what no component claims"),
        (
            {"components": [{"name": "a", "prefix": "x"}, {"name": "a", "prefix": "y"}]},
            "components: 'a' is there twice",
        ),
        (
            {"components": [{"name": "a", "prefix": "x/y"}, {"name": "b", "prefix": "x"}]},
            "components: 'a' and 'b' claim the same records",
        ),
        (
            {"components": [{"name": "a", "text_only": True}, {"name": "b", "text_only": True}]},
            "components: 'a' and 'b' claim the same records",
        ),
        ({"annotations": COUNTED, "components": PARTS}, "components: their counts sum to 4, annotations.count is 5"),
        (
            {"kind": "benchmark", "scorer": "pope", "annotations": {"path": "a"}, "components": PARTS},
            "components are for kind: source",
        ),
        ({"root": "x"}, "root, files and standalone are for kind: images"),
        ({"standalone": True}, "root, files and standalone are for kind: images"),
        ({"kind": "images", "annotations": None, "images": [{"embedded": True}]}, "an image set needs images"),
        (
            {"annotations": {"files": [{"url": "http://a/b?sig=1"}, {"url": "http://a/b?sig=2"}], "format": "llava"}},
            "files: http://a/b stands twice",
        ),
        (
            {"annotations": {"files": [{"url": "http://a/b", "only": ["x"]}], "format": "llava"}},
            "annotations.files.0: only is for what is unpacked",
        ),
        ({"annotations": {"url": "http://a/b", "only": ["x"], "format": "llava"}}, "only is for what is unpacked"),
        ({"files": 3}, "root, files and standalone are for kind: images"),
        ({"tree": "../x"}, "tree: expected a relative path"),
        ({"manual": "Ask."}, "manual: a person brings the annotations, so remove url, path, files, hub there"),
        ({"manual": "Ask.\nThem.", "annotations": {"format": "llava"}}, "manual: expected one line"),
        ({"kind": "images", "annotations": None, "manual": "Ask."}, "an image set needs images"),
        ({"images": [{"inside": "../x"}]}, "inside: '../x' leaves the annotations' folder"),
        ({"annotations": {"path": "a", "format": "llava", "file": "/x"}}, "file: '/x' leaves the folder"),
        ({"annotations": {"path": "a", "format": "llava", "unpack": True}}, "unpack is for url"),
        (
            {"annotations": {"files": [{"url": "http://a/b"}], "format": "llava", "bytes": 3}},
            "sha256 and bytes are of one file",
        ),
        ({"kind": "images"}, "annotations: an image set has none"),
        ({"kind": "images", "annotations": None, "scorer": "pope"}, "scorer: an image set has none"),
        ({"kind": "images", "annotations": None, "images": []}, "an image set needs images"),
        ({"kind": "images", "annotations": None, "images": [{"set": "coco"}]}, "an image set needs images"),
        ({"kind": "images", "annotations": None, "root": "../x"}, "root: '../x' leaves the set"),
        ({"images": [{"archive": {"url": "http://a/b.zip", "into": "../x"}}]}, "into: '../x' leaves the image root"),
        ({"images": [{"archive": {"url": "ftp://a/b.zip"}}]}, "images.0.archive.url = 'ftp://a/b.zip'"),
        ({"annotations": {"path": "a", "format": "lava"}}, "unknown annotation format 'lava'; nearest: 'llava'"),
        ({"annotations": {"path": "a", "format": "llava", "sha256": "abc"}}, "annotations.sha256 = 'abc'"),
        ({"annotations": {"path": "a", "format": "llava", "bytes": "many"}}, "annotations.bytes = 'many'"),
        ({"annotations": None}, "key 'annotations' is missing"),
        ({"name": "has.dot"}, "name = 'has.dot'"),
        ({"kind": "sauce"}, "kind = 'sauce'"),
        ({"scorer": "pope"}, "scorer 'pope' is for kind: benchmark"),
        ({"kind": "benchmark", "annotations": {"path": "a"}}, "a benchmark needs a scorer"),
        ({"kind": "benchmark", "scorer": "pope"}, "a benchmark's file is read by its scorer"),
    ],
)
def test_a_fault_is_one_line_with_its_place(written, changes, message):
    with pytest.raises(BadInput) as error:
        load(written(**changes))
    assert message in str(error.value)
    assert "mine.yaml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pipe_or_a_device_is_no_local_file(tmp_path):
    """A run waited without end for who writes into the one, and read the other into memory."""
    os.mkfifo(tmp_path / "my.json")
    (tmp_path / "mine.yaml").write_text("{name: mine, licence: none, annotations: {path: my.json}}")
    for place in ("my.json", "/dev/zero"):
        with pytest.raises(BadInput, match=r"annotations\.path: .* is a device or a pipe; expected a file or a folder"):
            local_path(load(str(tmp_path / "mine.yaml")), "annotations.path", place)
