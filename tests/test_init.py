"""`tinyllava init`: from a folder of pictures and a JSON to a manifest and a recipe that load."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from PIL import Image

from tinyllava_core import cli
from tinyllava_core.data.manifest.lint import lint
from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS
from tinyllava_core.recipe import load
from tinyllava_core.report import preview


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two pictures and their records."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    records = []
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / "shots" / name)
        talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Red."}]
        records.append({"id": name, "image": name, "conversations": talk})
    (tmp_path / "My Photos.json").write_text(json.dumps(records))
    return tmp_path


def test_manifest_recipe_and_preview_are_written_and_right(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "shots", "My Photos.json"]) == 0
    told = capsys.readouterr().out
    assert "2 records of format llava" in told
    assert "tinyllava run my-photos-recipe.yaml" in told
    manifest = load_manifest("my-photos.yaml")
    assert manifest.annotations is not None
    assert (manifest.annotations.path, manifest.images[0].folder) == ("My Photos.json", "shots")
    assert lint(["my-photos.yaml"], scorers=BENCHMARKS) == (1, [])
    sources = [entry.source for entry in load("my-photos-recipe.yaml").training("sft").mix]
    assert sources == ["toy-chat", "toy-places", str(here / "my-photos.yaml")]
    assert (here / "preview-my-photos.html").is_file()


def test_nothing_is_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "shots", "My Photos.json"]) == 0
    before = (here / "my-photos.yaml").read_text()
    assert cli.main(["init", "shots", "My Photos.json", "--extends", "base"]) == 2
    assert "my-photos.yaml is there already" in capsys.readouterr().err
    assert (here / "my-photos.yaml").read_text() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shot", "My Photos.json"], "shot: no such folder"),
        (["shots", "photos.json"], "photos.json: no such file"),
        (["shots", "odd.json"], "its records look like none of"),
        ([".", "My Photos.json"], "none can be trained on"),
        (["shots", "My Photos.json", "--extends", "toi"], "nearest: 'toy'"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    here: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "odd.json").write_text('[{"colour": 1}]')
    before = sorted(path.name for path in here.iterdir())
    assert cli.main(["init", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.parametrize(
    ("pictures", "records", "name"),
    [
        ("my pics: holiday", "rec #2: x.json", "rec-2-x"),
        ("shots #1", "null.json", "null"),
        ("it's {x}", "2024.json", "2024"),
        ("*star", "&amp.json", "amp"),
        ("a\nb", "c\nd.json", "c-d"),
        ('"q" ', " - x .json", "x"),
        ("~nobody", "~nobody.json", "nobody"),
        ("图片 😀", "数据.json", "mine"),
    ],
)
def test_whatever_the_folder_and_the_file_are_called_their_own_pictures_are_found(
    here: Path, pictures: str, records: str, name: str
) -> None:
    """`shots #1` was read as `shots`, with what lies there: YAML begins a comment with a space and #."""
    (here / "shots").rename(here / pictures)
    (here / "My Photos.json").rename(here / records)
    (here / "shots").mkdir()
    assert cli.main(["init", pictures, records]) == 0
    manifest = load_manifest(f"{name}.yaml")
    assert manifest.annotations is not None
    assert (manifest.name, manifest.local(manifest.annotations.path or "")) == (name, here / records)
    assert manifest.folders == [here / pictures]
    assert load(f"{name}-recipe.yaml").name == name


def test_a_disk_that_is_full_leaves_nothing_in_the_way_of_the_next_try(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(here.iterdir())

    def full(path: Path, text: str) -> None:
        path.with_name(f".{path.name}.partial").write_text(text[:9])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(preview, "write_aside", full)  # the last that is written: the page
        assert cli.main(["init", "shots", "My Photos.json"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert {path for path in here.iterdir() if not path.name.startswith(".")} == before
    assert cli.main(["init", "shots", "My Photos.json"]) == 0


def test_a_name_that_is_no_name_leaves_nothing_behind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(here.iterdir())
    assert cli.main(["init", "shots", "My Photos.json", "--name", "No Name"]) == 2
    assert "No Name" in capsys.readouterr().err
    assert cli.main(["init", "shots", "My Photos.json", "--name", "../../evil"]) == 2
    assert "--name ../../evil: a source cannot be called '../../evil'" in capsys.readouterr().err
    assert set(here.iterdir()) == before
