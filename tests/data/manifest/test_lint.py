"""Each fault, planted in a folder of manifests that is otherwise sound, is found, and nothing else."""

import json
from types import SimpleNamespace

import pytest
import yaml

from tinyllava_core.data.manifest import manifest as manifests
from tinyllava_core.data.manifest.lint import lint
from tinyllava_core.data.manifest.manifest import known
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS

SCORERS = {"pope": SimpleNamespace(variants={"all": None})}
SOUND = {
    "chat": {
        "licence": "CC-BY-4.0",
        "annotations": {"url": "https://a/chat.json", "format": "llava", "count": 5},
        "images": [{"set": "coco", "prefix": "coco/train"}, {"set": ["small", "coco"], "prefix": "more"}],
        "components": [
            {"name": "coco", "prefix": "coco", "count": 3},
            {"name": "more", "prefix": "more/images", "count": 1},
            {"name": "sam", "prefix": "sam", "count": 1, "take": False},
        ],
    },
    "coco": {"kind": "images", "licence": "Flickr", "images": [{"archive": {"url": "https://a/coco.zip"}}]},
    "small": {"kind": "images", "licence": "none stated", "manual": "Ask for small.zip."},
    "test": {
        "kind": "benchmark",
        "licence": "MIT",
        "annotations": {"url": "https://a/test.json"},
        "images": [{"set": "coco"}],
        "scorer": "pope",
        "variant": "all",
    },
}


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Write the sound manifests with some keys changed (None: removed); `None` for a whole manifest removes it."""
    monkeypatch.setattr(manifests, "MANIFESTS", tmp_path)

    def write(**changed):
        for name, fields in SOUND.items():
            change = changed.get(name, {})
            whole = {
                key: value for key, value in ({"name": name} | fields | (change or {})).items() if value is not None
            }
            if change is not None:
                (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(whole))
        return tmp_path

    return write


def found(names=None):
    checked, faults = lint(names, scorers=SCORERS)
    return checked, [(fault.manifest, fault.what) for fault in faults]


def test_sound_manifests_have_no_fault(shelf):
    shelf()
    assert found() == (4, [])
    assert found(["chat", "test"]) == (2, [])


def test_the_shipped_manifests_have_no_fault():
    checked, faults = lint(None, scorers=BENCHMARKS)
    assert checked == len(known())
    assert faults == []


@pytest.mark.parametrize(
    ("changed", "name", "what"),
    [
        ({"chat": {"licens": "x"}}, "chat", "unknown key 'licens'; nearest: 'licence'"),
        ({"chat": {"name": "Chat"}}, "chat", "name = 'Chat'"),
        ({"chat": {"name": "talk"}}, "chat", "name 'talk' must be the file's own name, 'chat'"),
        ({"chat": {"licence": None}}, "chat", "no licence"),
        ({"coco": {"licence": None}}, "coco", "no licence"),
        (
            {"coco": {"images": [{"archive": {"url": "htp://a/coco.zip"}}]}},
            "coco",
            "images.0.archive.url = 'htp://a/coco.zip'",
        ),
        (
            {"chat": {"annotations": {"url": "https://a/chat.json", "format": "llava", "count": 6}}},
            "chat",
            "components: their counts sum to 5, annotations.count is 6",
        ),
        (
            {"chat": {"images": [SOUND["chat"]["images"][0], {"set": ["small", "cocoo"], "prefix": "more"}]}},
            "chat",
            "images: unknown image set 'cocoo'; nearest: 'coco'",
        ),
        ({"test": {"images": [{"set": "chat"}]}}, "test", "images: 'chat' is of kind source, expected an image set"),
        (
            {"chat": {"images": [*SOUND["chat"]["images"], {"set": "coco", "prefix": "coco"}]}},
            "chat",
            "images: prefixes 'coco' and 'coco/train' overlap",
        ),
        (
            {"chat": {"images": [*SOUND["chat"]["images"], {"set": "coco", "prefix": "coco/train"}]}},
            "chat",
            "images: entries 0 and 2 both stand for the prefix 'coco/train'",
        ),
        (
            {"chat": {"images": [*SOUND["chat"]["images"], {"set": "coco", "prefix": "sam/images"}]}},
            "chat",
            "images: prefix 'sam/images' stands for no component that is taken",
        ),
        (
            {"chat": {"images": [{"set": ["coco", "small"], "prefix": "coco/train"}]}},
            "chat",
            "components: 'more': no image place stands for more/images/...; places: coco/train",
        ),
        ({"test": {"scorer": "popo", "variant": None}}, "test", "unknown scorer 'popo'; nearest: 'pope'"),
        ({"test": {"variant": "al"}}, "test", "unknown variant of pope 'al'; nearest: 'all'"),
        (
            {"chat": {"images": SOUND["chat"]["images"][:1], "components": SOUND["chat"]["components"][::2],
                      "annotations": {"url": "https://a/chat.json", "format": "llava", "count": 4}}},
            "small",
            "no source and no benchmark draws on this image set",
        ),
        (
            {"small": {"manual": None, "images": [{"archive": {"url": "https://a/coco.zip"}}]}},
            "small",
            "https://a/coco.zip is an archive of 'coco' too; make it one image set",
        ),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(shelf, changed, name, what):
    shelf(**changed)
    checked, faults = found()
    assert checked == 4
    said = [fault for manifest, fault in faults if manifest == name]
    assert len(said) == 1
    assert what in said[0]
    assert "\n" not in said[0]


def test_an_image_set_may_stand_alone(shelf):
    home = shelf()
    alone = {"name": "alone", "kind": "images", "licence": "x", "manual": "Ask.", "standalone": True}
    (home / "alone.yaml").write_text(yaml.safe_dump(alone))
    assert found() == (5, [])


def test_a_manifest_that_does_not_load_is_a_fault_of_its_own_alone(shelf):
    home = shelf()
    (home / "chat.yaml").write_text("{")
    checked, faults = found(["chat", "coco"])
    assert (checked, [name for name, _ in faults]) == (2, ["chat"])
    assert "not YAML" in faults[0][1]


def test_of_a_local_file_the_first_records_are_looked_up(shelf, tmp_path):
    """Three of its five records have a place, or are left out, or have no picture."""
    home = shelf()
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    paths = ["coco/train/1.jpg", "coco/val/1.jpg", "coco/val/2.jpg", "sam/1.jpg", None]
    records = [{"conversations": turns} | ({"image": path} if path else {}) for path in paths]
    (tmp_path / "my.json").write_text(json.dumps(records))
    mine = {"name": "mine", "licence": "mine", "annotations": {"path": "my.json", "format": "llava"}}
    parts = [{"name": "sam", "prefix": "sam", "take": False}, {"name": "coco", "prefix": "coco"}]
    mine |= {"images": [{"set": "coco", "prefix": "coco/train"}], "components": parts}
    (home / "mine.yaml").write_text(yaml.safe_dump(mine))
    assert found([str(home / "mine.yaml")]) == (
        1,
        [
            (
                str(home / "mine.yaml"),
                "2 of the first 1000 records name pictures in coco/val/, which no image place stands for; places: coco/train",
            )
        ],
    )
    (tmp_path / "my.json").unlink()
    assert found([str(home / "mine.yaml")])[1] == [
        (str(home / "mine.yaml"), f"annotations.path: no file {home / 'my.json'}")
    ]
