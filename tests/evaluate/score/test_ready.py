"""A benchmark that could not be scored stops a run before anything is made, and `check` and `doctor` say so."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import yaml
from tiny import png

import flows.__main__
from flows.evaluation import look_at
from tasks.download import download
from tasks.run import Run
from tinyllava_core import cli
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load

PICTURES = ("a.png", "b.png", "c.png")


def lay_out(folder: Path, pictures: tuple[str, ...] = PICTURES, **manifest: object) -> str:
    """Write three questions about three pictures, of which some are there, and their manifest -> its path."""
    (folder / "pictures").mkdir(parents=True)
    for name in pictures:
        (folder / "pictures" / name).write_bytes(png(1, (8, 8)))
    rows = [
        {"question_id": number, "image": name, "text": "Is there a cat?", "label": "yes"}
        for number, name in enumerate(PICTURES)
    ]
    (folder / "asked.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"kind": "benchmark", "name": "quiz", "scorer": "pope", "annotations": {"path": "asked.json"}}
    told |= {"images": [{"folder": "pictures"}], **manifest}
    (folder / "quiz.yaml").write_text(yaml.safe_dump(told))
    return str(folder / "quiz.yaml")


def words(quiz: str, workspace: Path) -> list[str]:
    return ["toy", "--set", f"evaluate.benchmarks=[{quiz}]", "--workspace", str(workspace)]


def test_a_run_whose_benchmark_lacks_pictures_stops_before_anything_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiz = lay_out(tmp_path / "quiz", pictures=("a.png",))
    assert flows.__main__.main(words(quiz, tmp_path / "workspace")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: benchmark quiz: * -> {tmp_path / 'quiz' / 'pictures'}: 2 of 3 pictures ")
    assert "(the first: b.png)" in line
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("command", ["check", "doctor"])
def test_what_would_stop_the_run_is_told_beforehand(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, pictures, lacking in ((tmp_path / "some", ("b.png",), True), (tmp_path / "all", PICTURES, False)):
        assert cli.main([command, *words(lay_out(place, pictures), tmp_path / "workspace")]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert ("benchmark quiz: *" in said and "2 of 3 pictures of the benchmark are not there" in said) == lacking


def test_a_tree_that_has_the_questions_but_not_yet_the_pictures_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As LLaVA's is while its owner is still fetching COCO."""
    quiz = lay_out(tmp_path / "quiz", pictures=(), images=[{"set": "coco-val2014"}])
    val2014 = tmp_path / "tree" / "coco" / "val2014"
    val2014.mkdir(parents=True)
    (val2014 / "b.png").write_bytes(png(1, (8, 8)))
    settings = ["--set", f"data.root={tmp_path / 'tree'}"]
    assert cli.main(["check", *words(quiz, tmp_path / "workspace"), *settings]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"benchmark quiz: * -> {val2014}: 2 of 3 pictures of the benchmark are not there (the first: a.png)" in said


@pytest.mark.parametrize(
    ("pictures", "fault"),
    [(PICTURES, None), (("a.png", "c.png"), r"^benchmark quiz: .*: 1 of 3 pictures of the benchmark are not there")],
)
def test_what_is_only_known_once_it_was_fetched_stops_the_run_before_training(
    pictures: tuple[str, ...], fault: str | None, tmp_path: Path
) -> None:
    """Its pictures come out of an archive; no mix is compared with it, so nothing else looks at them."""
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name in pictures:
            made.writestr(name, png(1, (8, 8)))
    images = [{"archive": {"url": archive.as_uri()}}]
    quiz = lay_out(tmp_path / "quiz", pictures=(), images=images)
    off = {f"{stage}.contamination.action": None for stage in ("pretrain", "sft")}
    run = Run(run_id="1", workspace=tmp_path / "workspace", recipe=load("toy", {"evaluate.benchmarks": [quiz], **off}))
    fetched = {quiz: download.fn(run, quiz)}
    if fault is None:
        assert look_at(run, fetched, {}, {}) == {}
    else:
        with pytest.raises(BadInput, match=fault):
            look_at(run, fetched, {}, {})
