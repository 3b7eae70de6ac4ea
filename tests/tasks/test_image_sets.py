"""An image set on its way through a run: fetched once, used by every source whose records name its pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tasks.download import download
from tasks.inspect import inspect
from tasks.run import Run
from tasks.source import check_manifests, image_places, set_names
from tinyllava_core.data.manifest import manifest as manifests
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.results import InspectResult


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifests folder with one image set, two sources and a benchmark on it; the second source has own pictures too."""
    home = tmp_path / "shelf"
    for path, colour in (("coco/train/1.png", "red"), ("coco/train/2.png", "blue"), ("own/9.png", "green")):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(home / path)
    monkeypatch.setattr(manifests, "MANIFESTS", home)
    talk = [{"from": "human", "value": "<image>\nColour?"}, {"from": "gpt", "value": "Some."}]
    for name, paths in (
        ("first", ["coco/train/1.png"]),
        ("second", ["coco/train/1.png", "coco/train/2.png", "my/9.png"]),
    ):
        (home / f"{name}.json").write_text(json.dumps([{"image": path, "conversations": talk} for path in paths]))
        write(home, name, annotations={"path": f"{name}.json", "format": "llava"}, images=[ON_COCO])
    write(
        home,
        "second",
        annotations={"path": "second.json", "format": "llava"},
        images=[ON_COCO, {"folder": "own", "prefix": "my"}],
    )
    write(home, "coco-train", kind="images", root="train", images=[{"folder": "coco"}])
    write(
        home,
        "test",
        kind="benchmark",
        scorer="pope",
        annotations={"path": "first.json"},
        images=[{"set": "coco-train"}],
    )
    return home


ON_COCO = {"set": "coco-train", "prefix": "coco/train"}


def write(home: Path, name: str, **fields: object) -> None:
    (home / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **fields}))


RECIPE = {
    "pretrain.mix": [{"source": "first"}],
    "sft.mix": [{"source": "first"}, {"source": "second"}],
    "evaluate.benchmarks": ["test"],
}


def test_each_image_set_of_a_recipe_is_named_once(shelf: Path) -> None:
    recipe = load_recipe("toy", RECIPE)
    check_manifests(recipe)
    assert set_names(recipe) == ["coco-train"]


def test_records_are_looked_up_in_sets_and_in_the_sources_own_folders(shelf: Path, run: Run) -> None:
    run = Run(run_id=run.run_id, workspace=run.workspace, recipe=load_recipe("toy", RECIPE))
    sets = {name: download.fn(run, name) for name in set_names(run.recipe)}
    downloaded = download.fn(run, "second")
    inspected = inspect.fn(run, "second", downloaded, 0.0, sets)
    rows = pq.read_table(inspected.folder / "records.parquet")["images"].to_pylist()
    assert [row[0]["path"] for row in rows] == ["coco/train/1.png", "coco/train/2.png", "my/9.png"]
    assert inspected.manifest()["inputs"] == {
        "download": downloaded.fingerprint,
        "images coco-train": sets["coco-train"].fingerprint,
    }
    places = image_places(load("second"), downloaded, sets)
    assert places.find("coco/train/2.png") == shelf / "coco" / "train" / "2.png"
    assert places.find("my/9.png") == shelf / "own" / "9.png"


def test_another_picture_in_the_set_makes_its_sources_be_inspected_anew(shelf: Path, run: Run) -> None:
    def inspected() -> str:
        sets = {"coco-train": download.fn(run, "coco-train")}
        return inspect.fn(run, "first", download.fn(run, "first"), 0.0, sets).fingerprint

    before = inspected()
    assert inspected() == before
    Image.new("RGB", (8, 8), "black").save(shelf / "coco" / "train" / "3.png")
    assert inspected() != before


def test_what_is_no_image_set_is_found_before_anything_starts(shelf: Path) -> None:
    write(shelf, "first", annotations={"path": "first.json", "format": "llava"}, images=[{"set": "second"}])
    with pytest.raises(BadInput, match="'second' is a source, expected an image set"):
        check_manifests(load_recipe("toy", RECIPE))
    write(shelf, "first", annotations={"path": "first.json", "format": "llava"}, images=[{"set": "coco-trian"}])
    with pytest.raises(BadInput, match="'coco-trian'; nearest: 'coco-train'"):
        check_manifests(load_recipe("toy", RECIPE))


def test_a_persons_own_copy_of_a_set_is_used_in_place_of_the_download(shelf: Path, run: Run) -> None:
    archive = {"archive": {"url": "http://127.0.0.1:9/nobody.zip"}}
    write(shelf, "coco-train", kind="images", root="train", images=[archive], files=3)
    recipe = load_recipe("toy", {**RECIPE, "data.local.coco-train": str(shelf / "coco")})
    check_manifests(recipe)
    run = Run(run_id=run.run_id, workspace=run.workspace, recipe=recipe)
    sets = {"coco-train": download.fn(run, "coco-train")}
    downloaded = download.fn(run, "first")
    assert inspect.fn(run, "first", downloaded, 0.0, sets).result(InspectResult).num_good == 1
    assert image_places(load("first"), downloaded, sets).find("coco/train/2.png") == shelf / "coco" / "train" / "2.png"


def test_what_a_person_must_fetch_stops_a_run_before_anything_starts(shelf: Path) -> None:
    write(shelf, "coco-train", kind="images", manual="Accept the licence at example.org.")
    with pytest.raises(BadInput, match=r"'coco-train' cannot be downloaded by a program: Accept the licence"):
        check_manifests(load_recipe("toy", RECIPE))
    check_manifests(load_recipe("toy", {**RECIPE, "data.local": {"coco-train": str(shelf / "coco")}}))


def test_all_that_a_person_must_fetch_is_said_at_once(shelf: Path) -> None:
    write(shelf, "coco-train", kind="images", manual="Accept the licence at example.org.")
    write(shelf, "test", kind="benchmark", scorer="pope", annotations={"count": 1}, manual="Ask the authors for it.")
    with pytest.raises(BadInput, match=r"'test' cannot be downloaded .* A person must fetch these too: coco-train\."):
        check_manifests(load_recipe("toy", RECIPE))


def test_an_unknown_scorer_stops_a_run_before_anything_starts(shelf: Path) -> None:
    write(shelf, "test", kind="benchmark", scorer="popo", annotations={"path": "first.json"})
    with pytest.raises(BadInput, match="unknown scorer 'popo'; nearest: 'pope'"):
        check_manifests(load_recipe("toy", RECIPE))
