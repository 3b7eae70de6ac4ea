"""What was paid for stays, whoever else writes, dies or finds no room."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from judge_server import judge_server

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score import kept
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.kept import Reply, keep, read

HALF = '{"request_sha256": "abc", "attempt": 0, "te'
REST = 'xt": "5", "model": "m"}\n'
HELLO = [{"role": "user", "content": "Hello?"}]


def line(name: str, text: str = "5") -> dict[str, str]:
    return {"request_sha256": name, "text": text, "model": "m"}


def test_a_second_run_leaves_the_line_alone_that_the_first_is_writing(tmp_path: Path) -> None:
    with (path := tmp_path / "j.jsonl").open("w") as first:
        first.write(HALF)
        first.flush()
        assert read(path) == ({}, 0)
        first.write(REST)
    assert read(path) == ({"abc": Reply(text="5", model="m")}, 0)


def test_half_a_line_of_a_full_disk_costs_itself_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path := tmp_path / "j.jsonl").write_text(HALF)
    with judge_server(["one"]) as server:
        assert Judge(server.url, "m", None, path).ask(HELLO) == "one"
    assert capsys.readouterr().err == ""  # it might have been on its way
    with judge_server([]) as server:
        assert Judge(server.url, "m", None, path).ask(HELLO) == "one"
    assert f"{path}: lines that cannot be read, as after a full disk: 1;" in capsys.readouterr().err


@pytest.mark.parametrize("strange", [b"\xff\xfe", b"[" * 100_000, b"9" * 5000, HALF.encode() * 2])
def test_a_line_that_cannot_be_read_costs_itself_alone(tmp_path: Path, strange: bytes) -> None:
    good = [json.dumps(line(name)).encode() for name in "ab"]
    (path := tmp_path / "j.jsonl").write_bytes(b"\n".join([good[0], strange, good[1], b""]))
    replies, lost = read(path)
    assert (sorted(replies), lost) == (["a", "b"], 1)


@pytest.mark.parametrize("row", [[], 5, {"request_sha256": [1], "text": "x", "model": "m"}, {**line("a"), "text": 5}])
def test_a_line_of_something_else_is_another_file(tmp_path: Path, row: object) -> None:
    (path := tmp_path / "j.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(BadInput, match=r"j\.jsonl, line 1: not a kept reply; remove the file"):
        read(path)


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)


def test_lines_of_many_writers_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `keep` opens the file for itself, as other processes do; the disk takes what it is given by halves."""
    write = kept.os.write
    monkeypatch.setattr(kept.os, "write", lambda file, data: write(file, data[: len(data) // 2 + 1]))
    path = tmp_path / "j.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: keep(path, line(str(number), "é" * 20_000)), range(64)))
    replies, lost = read(path)
    assert (sorted(map(int, replies)), lost) == (list(range(64)), 0)
    assert {reply.text for reply in replies.values()} == {"é" * 20_000}
