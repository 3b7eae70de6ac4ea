"""Downloads of what lies on this disk already: used in place, counted, followed by what is in it."""

import os
import sys
from pathlib import Path

import pytest

from tinyllava_core.data.manifest.local_files import beside, local_digest
from tinyllava_core.errors import BadInput

sys.path.insert(0, str(Path(__file__).parent))
from downloads import tree


def test_local_files_are_used_where_they_are(tmp_path, manifest, call, photos):
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    (tmp_path / "pictures" / "cats" / "1.jpg").write_bytes(photos["cats/chelsea.jpg"])
    (tmp_path / "mine.json").write_text("[]")
    out, result = call(manifest(annotations={"path": "mine.json", "format": "llava"}, images=[{"folder": "pictures"}]))
    assert result.annotations == str(tmp_path / "mine.json")
    assert result.image_root == str(tmp_path / "pictures")
    assert (result.num_files, result.size_bytes) == (1, 2 + len(photos["cats/chelsea.jpg"]))
    assert tree(out / "images") == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"annotations": {"path": "none.json", "format": "llava"}},
            r"annotations\.path: no file .*none\.json \(relative paths",
        ),
        (
            {"annotations": {"path": "mine.yaml", "format": "llava"}, "images": [{"folder": "none"}]},
            r"images\.folder: no folder .*none \(relative paths",
        ),
        (
            {"annotations": {"path": "mine.yaml", "format": "llava"}, "images": [{"url_table": {"path": "none.csv"}}]},
            r"url_table\.path: no file",
        ),
        ({"annotations": {"path": "mine.yaml", "format": "llava", "bytes": 3}}, r"mine\.yaml: expected 3 bytes, found"),
    ],
)
def test_a_missing_local_file_is_named(manifest, call, fields, message):
    with pytest.raises(BadInput, match=message):
        call(manifest(**fields))


def test_the_local_digest_follows_contents_names_sizes_and_times(tmp_path, manifest):
    (tmp_path / "mine.json").write_text("[]")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"one")
    found = manifest(annotations={"path": "mine.json", "format": "llava"}, images=[{"folder": "pictures"}])
    digests = [local_digest(found)]
    assert local_digest(found) == digests[0]

    def changed() -> bool:
        digests.append(local_digest(found))
        return digests[-1] not in digests[:-1]

    (tmp_path / "mine.json").write_text("{}")
    assert changed()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"another")
    assert changed()
    os.utime(tmp_path / "pictures" / "1.jpg", (1, 1))
    assert changed()
    (tmp_path / "pictures" / "1.jpg").rename(tmp_path / "pictures" / "2.jpg")
    assert changed()
    (tmp_path / "pictures" / "3.jpg").touch()
    assert changed()


def test_there_is_no_local_digest_of_what_is_downloaded(manifest):
    assert local_digest(manifest(annotations={"url": "http://a/b.json", "format": "llava"})) is None


def test_the_local_digest_of_a_missing_file_names_it(manifest):
    with pytest.raises(BadInput, match=r"annotations\.path: no file"):
        local_digest(manifest(annotations={"path": "none.json", "format": "llava"}))


@pytest.mark.parametrize("folder", ["coco", "coco/train"])
def test_a_local_image_set_may_have_its_root_folder_or_be_it(tmp_path, manifest, call, folder):
    (tmp_path / "coco" / "train").mkdir(parents=True)
    (tmp_path / "coco" / "train" / "1.jpg").write_bytes(b"one")
    _, result = call(manifest(kind="images", root="train", images=[{"folder": folder}]))
    assert result.image_root == str(tmp_path / "coco" / "train")
    assert result.num_files == 1


def test_several_local_folders_are_counted_and_followed_together(tmp_path, manifest, call):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(name.encode())
    (tmp_path / "mine.json").write_text("[]")
    folders = [{"folder": "one", "prefix": "a"}, {"folder": "two", "prefix": "b"}]
    found = manifest(annotations={"path": "mine.json", "format": "llava"}, images=folders)
    _, result = call(found)
    assert result.num_files == 2
    before = local_digest(found)
    (tmp_path / "two" / "2.jpg").touch()
    assert local_digest(found) != before


@pytest.mark.parametrize("path", ["here", "here/vet"])
def test_a_local_folder_of_annotations_may_have_its_root_folder_or_be_it(tmp_path, manifest, call, path):
    (tmp_path / "here" / "vet").mkdir(parents=True)
    (tmp_path / "here" / "vet" / "q.json").write_text("[]")
    found = manifest(kind="benchmark", scorer="pope", annotations={"path": path, "root": "vet", "file": "q.json"})
    _, result = call(found)
    assert result.annotations == str(tmp_path / "here" / "vet" / "q.json")
    assert beside(found.annotations, tmp_path / "here" / "vet" / "q.json") == tmp_path / "here" / "vet"


def test_a_file_that_the_folder_lacks_is_named_with_what_is_there(tmp_path, manifest, call):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "other.json").touch()
    with pytest.raises(BadInput, match=r"annotations\.file: no q\.json in .*here; there: other\.json"):
        call(manifest(kind="benchmark", scorer="pope", annotations={"path": "here", "file": "q.json"}))
