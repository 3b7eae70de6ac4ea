"""Progress: a bar on a terminal, a line now and then elsewhere, and never a reason to stop."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from tasks.running import progress
from tasks.running.progress import Pace, line, showing, slug
from tinyllava_core.job import Progress

HALF = Progress(done=150, total=300, unit="steps", note="loss 1.23")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "CONSOLE", Console(file=screen, force_terminal=True, width=120))
    with showing("sft") as show:
        show(HALF)
    drawn = screen.getvalue()
    for words in ("sft", "150/300", "steps", "loss 1.23"):
        assert words in drawn


def test_the_next_part_of_a_stage_has_a_total_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "CONSOLE", Console(file=screen, force_terminal=True, width=120))
    with showing("download") as show:
        show(Progress(done=8570642, total=8570642, unit="bytes", note="images.zip"))
        show(Progress(done=1140, total=0, unit="files", note="unpacking"))
    last = [frame for frame in screen.getvalue().split("\r") if "files" in frame][-1]
    assert "1140/?" in last
    assert "8570642" not in last


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, "tinyllava"), showing("sft") as show:
        show(HALF)
    assert caplog.messages == ["sft: 150 of 300 steps in 0 s, loss 1.23"]


def test_lines_are_rare(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tinyllava"), showing("sft") as show:
        for _ in range(100):
            show(HALF)
    assert caplog.messages == []


def test_a_line_without_a_note_has_no_loose_end() -> None:
    assert line("shard", Progress(done=1200, total=4800, unit="records"), 3.4) == "shard: 1,200 of 4,800 records in 3 s"


def test_what_is_left_is_told_at_the_pace_since_this_run_began() -> None:
    """A run that went on at step 200 has done 50 steps in 10 s: 350 more take 70 s."""
    pace = Pace()
    pace.seen(Progress(done=200, total=600, unit="steps"), now=100.0)
    assert pace.left(Progress(done=200, total=600, unit="steps")) == ""
    pace.seen(here := Progress(done=250, total=600, unit="steps"), now=110.0)
    assert pace.left(here) == ", 1:10 left"
    pace.seen(one := Progress(done=1, total=7201, unit="questions"), now=110.0)
    assert pace.left(one) == ""
    pace.seen(two := Progress(done=2, total=7202, unit="questions"), now=111.0)
    assert pace.left(two) == ""  # another total: another part of the stage
    pace.seen(three := Progress(done=3, total=7202, unit="questions"), now=112.0)
    assert pace.left(three) == ", 1:59:59 left"
    assert pace.left(Progress(done=7202, total=7202, unit="questions")) == ""


def test_an_unknown_total_is_no_fault() -> None:
    with showing("inspect") as show:
        show(Progress(done=10, total=0, unit="records"))


def test_progress_that_prefect_cannot_take_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_, **__) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(progress, "create_progress_artifact", away)
    monkeypatch.setattr(progress.TaskRunContext, "get", lambda: object())
    with showing("sft") as show:
        show(HALF)
        show(HALF)
    assert [message for message in caplog.messages if "no server" in message] == [
        "sft: progress is no longer shown in Prefect: no server"
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("progress-evaluate toy-vqa blind", "progress-evaluate-toy-vqa-blind"),
        ("A_b.C", "a-b-c"),
        ("研究", "4ff0f1dd"),  # the first eight of its sha256, by sha256sum
        ("图 1", "1-2e8f4df6"),
        ("---", "cb3f91d5"),
    ],
)
def test_keys_are_what_prefect_takes(text: str, key: str) -> None:
    assert slug(text) == key
    assert len(slug("n" * 300)) == 100
