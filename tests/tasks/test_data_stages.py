"""download and inspect of a person's own files: what makes them anew, and what does not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tasks.download import download
from tasks.inspect import inspect
from tasks.run import Run
from tasks.running.retry import may_help
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.web.fetch import NoHost
from tinyllava_core.errors import BadInput


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four records without pictures, one of them without turns."""
    talk = [{"from": "human", "value": "Is it so?"}, {"from": "gpt", "value": "Yes."}]
    records = [{"id": number, "conversations": talk if number else []} for number in range(4)]
    (tmp_path / "talk.json").write_text(json.dumps(records))
    return describe(tmp_path)


def describe(folder: Path, **fields: Any) -> Path:
    manifest = {"name": "talk", "annotations": {"path": "talk.json", "format": "llava"}, **fields}
    (folder / "talk.yaml").write_text(yaml.safe_dump(manifest))
    return folder / "talk.yaml"


def inspected(run: Run, source: Path, max_lost_fraction: float = 0.5) -> Artifact:
    return inspect.fn(run, str(source), download.fn(run, str(source)), max_lost_fraction, {})


def test_a_second_look_finds_what_the_first_one_made(run: Run, source: Path) -> None:
    assert inspected(run, source).made
    again = inspected(run, source)
    assert not again.made
    assert again.manifest()["inputs"]["download"] == download.fn(run, str(source)).fingerprint


def test_words_about_a_source_change_nothing(run: Run, source: Path) -> None:
    first = download.fn(run, str(source))
    describe(source.parent, description="talk", homepage="https://example.org")
    assert download.fn(run, str(source)).fingerprint == first.fingerprint
    describe(source.parent, licence="MIT")  # is shown with the source
    assert download.fn(run, str(source)).fingerprint != first.fingerprint


def test_another_file_under_the_same_name_is_another_source(run: Run, source: Path) -> None:
    first = inspected(run, source)
    (source.parent / "talk.json").write_text((source.parent / "talk.json").read_text().replace("Yes.", "No."))
    second = inspected(run, source)
    assert second.made
    assert second.fingerprint != first.fingerprint


def test_too_many_losses_stop_the_run_but_are_kept(run: Run, source: Path) -> None:
    with pytest.raises(BadInput, match="1 of 4 records are unusable"):
        inspected(run, source, max_lost_fraction=0.2)
    assert not inspected(run, source, max_lost_fraction=0.25).made  # looked at once, judged twice


@pytest.mark.parametrize(
    ("error", "helps"), [(BadInput("wrong checksum"), False), (ConnectionError("reset"), True), (NoHost("a"), False)]
)
def test_only_what_may_pass_is_tried_again(error: Exception, helps: bool) -> None:
    state = SimpleNamespace(result=lambda raise_on_failure: error)
    assert may_help(None, None, state) is helps  # type: ignore[arg-type]
