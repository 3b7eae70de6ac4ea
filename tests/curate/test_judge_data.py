"""Judging a source's records, from the command to the filter that reads its columns; the model is a stand-in on loopback that fails in every way."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from inspected import inspected
from judge_server import JudgeServer, Reply, judge_server
from tiny import png

from tinyllava_core import cli
from tinyllava_core.commands.of_data.judge import OWN
from tinyllava_core.curate import asking, columns
from tinyllava_core.curate.priced import of_sources
from tinyllava_core.curate.rows import Row, source_of
from tinyllava_core.curate.tariff import Tariff
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.mix.filters import read_filters
from tinyllava_core.data.record.formats import parser
from tinyllava_core.data.record.record import Turn
from tinyllava_core.evaluate.score import judge, kept
from tinyllava_core.settings.mix import MixEntry

SAYS = [
    ["<image>\nWhat is it?", "a red cat"],
    ["<image>\nQui?", "un chat"],
    ["<image>\n什么?", "一只红色的猫"],
    ["Sum?", "4"],
]
Ask = Callable[..., int]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four records: three with pictures, of which two are the same file's bytes; one of text alone."""
    (pictures := tmp_path / "pictures").mkdir()
    for name, number in (("a.png", 1), ("b.png", 2), ("c.png", 1)):
        (pictures / name).write_bytes(png(number))
    (tmp_path / "mine.json").write_text("[]")
    told = {"kind": "source", "name": "mine", "licence": "MIT", "annotations": {"path": "mine.json", "format": "llava"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**told, "images": [{"folder": str(pictures)}]}))
    home = tmp_path / "workspace" / "artifacts" / "inspect" / "ab12"
    same = {"a.png": "one", "b.png": "two", "c.png": "one"}
    images = [[{"path": path, "sha256": same[path]}] for path in same] + [[]]
    inspected(home, "mine", [{"says": says, "images": shown} for says, shown in zip(SAYS, images, strict=True)])
    result = {"result": {"source": "mine"}, "made_at": "2026-01-01"}
    (home / "result.json").write_text(json.dumps(result))
    return tmp_path / "mine.yaml"


@pytest.fixture
def ask(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a word of `data` on the source, asking a server."""
    monkeypatch.setattr(asking.Judge.__init__, "__kwdefaults__", {"wait_s": 0.001})
    (tmp_path / "help.txt").write_text("How helpful, 1 to 5? Q: {question} A: {answer}")

    def run(server: JudgeServer | None, word: str, *words: str) -> int:
        monkeypatch.setenv(judge.URL, server.url if server else "http://127.0.0.1:9/v1")
        monkeypatch.setenv(judge.MODEL, "rater")
        return cli.main(["data", word, str(source), "--workspace", str(tmp_path / "workspace"), *words])

    return run


def words_of(request: dict[str, Any]) -> str:
    return request["messages"][0]["content"][-1]["text"]


def rows(path: Path) -> dict[str, dict[str, Any]]:
    return {row.pop("record_id")[-1]: row for row in pq.read_table(path).to_pylist()}


def judging(ask: Ask, server: JudgeServer | None, tmp_path: Path, *more: str) -> int:
    named = f"help={tmp_path / 'help.txt'}"
    return ask(server, "judge", "--ask", named, "--out", str(tmp_path / "scores.parquet"), *more)


def test_length_and_script_need_no_model_and_a_filter_reads_them(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.parquet"
    assert ask(None, "judge", "--out", str(out)) == 0
    assert rows(out) == {
        "0": {"num_words": 3, "script": "latin"},
        "1": {"num_words": 2, "script": "latin"},
        "2": {"num_words": 1, "script": "cjk"},
        "3": {"num_words": 1, "script": "latin"},
    }
    entry = MixEntry(source="mine", scores=str(out), filters=("script = 'latin' AND num_words >= 2",))
    assert read_filters(entry)[0].columns == ("script", "num_words")
    assert "4 records of mine, columns num_words, script" in capsys.readouterr().out
    assert columns.script("12 + 3 = 15") == "none"


def test_a_rating_has_its_model_and_prompt_beside_it_and_is_asked_once(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(request: dict[str, Any]) -> Reply:
        return "I give it a 4.5 of 5" if "cat" in words_of(request) else "none at all"

    with judge_server(reply) as server:
        assert judging(ask, server, tmp_path) == 0
        assert judging(ask, server, tmp_path) == 0
        assert len(server.asked) == 4
        sent = next(one for one in server.asked if "a red cat" in words_of(one))
    assert words_of(sent) == "How helpful, 1 to 5? Q: What is it? A: a red cat"
    assert sent["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    alone = next(one for one in server.asked if "Sum?" in words_of(one))
    assert len(alone["messages"][0]["content"]) == 1  # no picture
    found = rows(tmp_path / "scores.parquet")
    assert [found[key]["help"] for key in "0123"] == [4.5, None, None, None]
    assert found["0"]["help_by"].startswith("judge-2026, prompt ")
    assert found["1"]["help_fault"] == "no number: 'none at all'"
    said = capsys.readouterr().out
    assert "help: rater, prompt" in said
    assert "4 requests to send (0 are kept already)" in said
    assert "0 requests to send (4 are kept already)" in said
    assert "without: help 3" in said
    told = pq.read_schema(tmp_path / "scores.parquet").metadata
    assert told[b"tinyllava.help"].startswith(b"rater, prompt ")


def test_what_it_costs_is_said_and_bounded_before_anything_is_asked(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with judge_server(lambda request: "3") as server:
        assert judging(ask, server, tmp_path, "--plan", "--max-tokens", "10") == 0
        assert not (tmp_path / "scores.parquet").exists()
        told = capsys.readouterr().out
        chars = sum(len(f"How helpful, 1 to 5? Q: {q.removeprefix('<image>').strip()} A: {a}") for q, a in SAYS)
        assert f"4 requests to send (0 are kept already): {chars} characters" in told
        assert "replies of 40 tokens at most" in told
        assert judging(ask, server, tmp_path, "--at-most", "3") == 2
        assert "help: 4 new requests, and --at-most 3; nothing was asked" in capsys.readouterr().err
        assert server.asked == []


def test_a_price_is_the_users_own_and_is_said_with_the_plan(
    ask: Ask, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four requests about three pictures, of 100 tokens each; 40 tokens back: at 1,000 a million sent and 10,000 back."""
    assert (
        judging(
            ask,
            None,
            tmp_path,
            *["--plan", "--max-tokens", "10", "--picture-tokens", "100", "--price", "1000", "10000"],
        )
        == 0
    )
    chars = sum(len(f"How helpful, 1 to 5? Q: {q.removeprefix('<image>').strip()} A: {a}") for q, a in SAYS)
    assert f"; {(chars / 4 + 300) / 1000 + 0.4:,.2f} at most\n" in capsys.readouterr().out
    assert judging(ask, None, tmp_path, "--plan", "--price", "-1", "2") == 2
    assert "--price and --picture-tokens: expected 0 or more" in capsys.readouterr().err
    prompt = asking.Prompt.read("help", tmp_path / "help.txt", 10)
    tariff = Tariff.of(None, None)
    found = of_sources([str(source)] * 2, prompt, tmp_path / "workspace", tariff, each_picture=False)
    assert (found.requests, found.sent, found.back, found.beside(tariff)) == (4, chars / 4, 40, " + 3 pictures")
    found = of_sources([str(source)], prompt, tmp_path / "workspace", tariff, each_picture=True)
    assert (found.requests, found.pictures, found.is_counted) == (2, 2, True)  # a picture that two records show, once


def test_what_is_found_of_a_picture_is_said_of_the_records_that_show_it_first(
    ask: Ask, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records 0 and 2 show picture one, record 1 picture two, which is alike to it; record 3 shows none."""
    found = pa.table(
        {
            "sha256": ["one", "two"],
            "alike": [0.5, 0.5],
            "alike_to": ["two", "one"],
            "first": ["one", "one"],
            "benchmark_alike": [0.1, None],
            "benchmark_alike_to": ["pope/a.png", None],
        }
    )
    table = columns.alike(found, list(source_of(load(str(source)), tmp_path / "workspace").rows()))
    told = {row.pop("record_id")[-1]: tuple(row.values()) for row in table.to_pylist()}
    first = (0.5, "mine-00000001", True, pytest.approx(0.1), "pope/a.png")
    assert told == {"0": first, "2": first, "1": (0.5, "mine-00000000", False, None, None)}
    wrong = {
        ("--against", "pope"): "--against: has no effect without --alike",
        ("--alike", "toy-vit", "--alike-above", "2"): "--alike-above 2.0: expected a cosine",
        ("--alike", "toy-vitt"): "nearest: 'toy-vit'",
    }
    for words, message in wrong.items():
        assert ask(None, "judge", *words) == 2
        assert message in capsys.readouterr().err


def test_a_refused_record_is_told_and_the_others_are_rated(ask: Ask, tmp_path: Path) -> None:
    def reply(request: dict[str, Any]) -> Reply:
        return 400 if "un chat" in words_of(request) else "" if "Sum?" in words_of(request) else "2"

    with judge_server(reply) as server:
        assert judging(ask, server, tmp_path) == 0
    found = rows(tmp_path / "scores.parquet")
    assert [found[key]["help"] for key in "0123"] == [2, None, 2, None]
    assert "status 400" in found["1"]["help_fault"]
    assert found["3"]["help_fault"] == "empty"


def test_an_answer_that_is_none_or_a_number_that_is_none_costs_its_record_alone(ask: Ask, tmp_path: Path) -> None:
    def reply(request: dict[str, Any]) -> Reply:
        return b"[" * 200_000 if "un chat" in words_of(request) else "9" * 5000 if "Sum?" in words_of(request) else "2"

    with judge_server(reply) as server:
        assert judging(ask, server, tmp_path) == 0
    found = rows(tmp_path / "scores.parquet")
    assert [found[key]["help"] for key in "0123"] == [2, None, 2, None]
    assert "not a chat completion: [[[" in found["1"]["help_fault"]
    assert found["3"]["help_fault"] == f"no number: '{'9' * 200}'"


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (401, "status 401"),
        (503, "status 503, 6 times; the replies so far are kept"),
        ({"nothing": 1}, "not a chat completion"),
        (400, "3 records in a row were refused; the last: judge rater"),
    ],
)
def test_an_endpoint_that_does_not_answer_stops_it_and_what_came_before_is_kept(
    ask: Ask,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reply: Reply,
    fault: str,
) -> None:
    monkeypatch.setattr(asking, "MOST_REFUSED", 3)
    with judge_server(lambda request: "5" if "a red cat" in words_of(request) else reply) as server:
        assert judging(ask, server, tmp_path, "--at-once", "1") == 2
    said = capsys.readouterr().err
    assert fault in said
    assert said.count("\n") == 1
    assert not (tmp_path / "scores.parquet").exists()
    with judge_server(lambda request: "1") as server:
        assert judging(ask, server, tmp_path) == 0
        assert len(server.asked) == 3  # the first reply is not paid for twice
    assert rows(tmp_path / "scores.parquet")["0"]["help"] == 5


def test_a_disk_that_is_full_is_one_line_and_what_was_kept_before_is_not_paid_for_twice(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(file: int, data: bytes) -> int:
        if b"fills" in data:
            write(file, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    write = kept.os.write
    with monkeypatch.context() as full, judge_server(["1", "2", "3 fills", "4"]) as server:
        full.setattr(kept.os, "write", half)
        assert judging(ask, server, tmp_path, "--at-once", "1") == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: .*replies in mine\.jsonl: the disk of .*judged is full: .*\n", said)
    with judge_server(["3"]) as server:
        assert judging(ask, server, tmp_path, "--at-once", "1") == 0
    assert [row["help"] for row in rows(tmp_path / "scores.parquet").values()] == [1, 2, 3, 4]


def test_what_may_pass_is_asked_again(ask: Ask, tmp_path: Path) -> None:
    replies: list[Reply] = [429, "1", 500, 503, "2", "3", "4"]
    with judge_server(replies) as server:
        assert judging(ask, server, tmp_path, "--at-once", "1") == 0
    assert [row["help"] for row in rows(tmp_path / "scores.parquet").values()] == [1, 2, 3, 4]


def test_new_captions_are_a_source_of_their_own_each_picture_once(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prompt := tmp_path / "caption.txt").write_text("Describe it.")
    with judge_server(lambda request: "A cat, red, on a mat. ") as server:
        assert ask(server, "recaption", "--prompt", str(prompt), "--out", str(tmp_path / "mine-captions")) == 0
        assert len(server.asked) == 2  # two different pictures, three records
    assert "2 captions of 2 pictures of mine" in capsys.readouterr().out
    manifest = load(str(tmp_path / "mine-captions" / "mine-captions.yaml"))
    assert manifest.annotations is not None
    written = json.loads((tmp_path / "mine-captions" / "captions.json").read_text())
    assert [one["caption_of"] for one in written] == ["mine-00000000", "mine-00000001"]
    assert written[0]["caption_by"].startswith("judge-2026, prompt ")
    with judge_server(lambda request: "A dog.") as server:  # once more, other captions in the place of its own
        assert ask(server, "recaption", "--prompt", str(prompt), "--out", str(tmp_path / "mine-captions")) == 0
        (tmp_path / "captions.json").write_text(said := '[{"id": "a", "caption": "a person wrote this"}]')
        assert ask(server, "recaption", "--prompt", str(prompt), "--out", str(tmp_path)) == 2
        assert len(server.asked) == 0, "the replies are kept, and nothing is asked for a place that is taken"
    assert "captions.json: is there already, and holds no new captions; name another folder" in capsys.readouterr().err
    assert (tmp_path / "captions.json").read_text() == said
    record = parser("llava")("mine-captions", 0, written[0])
    assert (record.images, record.turns[1].text) == (("a.png",), "A cat, red, on a mat.")
    assert manifest.places(tmp_path, {}, []).find("a.png") == tmp_path / "pictures" / "a.png"


def test_a_source_that_could_not_be_called_so_is_told_before_a_caption_is_paid_for(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prompt := tmp_path / "caption.txt").write_text("Describe it.")
    with judge_server(lambda request: "A cat.") as server:
        assert ask(server, "recaption", "--prompt", str(prompt), "--out", str(tmp_path / "Bad Name")) == 2
        assert not server.asked
    assert "a source cannot be called 'Bad Name'; expected small letters" in capsys.readouterr().err


def test_no_rating_may_be_called_what_the_command_writes_itself(tmp_path: Path) -> None:
    """The names are checked before there are tables: so they must be theirs."""
    nothing = {"record_id": [], "step": [], "loss_sum": [], "num_supervised": []}
    kinds = [pa.string(), pa.int32(), pa.float64(), pa.int64()]
    pq.write_table(pa.table(nothing, pa.schema(zip(nothing, kinds, strict=True))), tmp_path / "record_losses.parquet")
    found = {"sha256": [], "alike": [], "alike_to": [], "first": [], "benchmark_alike": [], "benchmark_alike_to": []}
    tables = [columns.said([]), columns.losses(tmp_path, pa.array([], pa.string())), columns.alike(pa.table(found), [])]
    assert {name for table in tables for name in table.column_names} | {"similarity", "similarity_cut"} == OWN


def test_losses_are_of_the_last_epoch_and_the_worst_answer_stands_beside_the_mean(tmp_path: Path) -> None:
    ids = ["r0", "r0", "r0", "r1", "other"]
    table = {
        "record_id": ids,
        "step": [1, 5, 5, 2, 2],
        "loss_sum": [9.0, 2.0, 6.0, 1.0, 1.0],
        "num_supervised": [1, 4, 2, 2, 1],
    }
    pq.write_table(pa.table(table), tmp_path / "record_losses.parquet")
    found = columns.losses(tmp_path, pa.array(["r0", "r1", "r2"])).sort_by("record_id").to_pylist()
    assert found == [
        {"record_id": "r0", "loss": pytest.approx(8 / 6), "worst_loss": 3.0},
        {"record_id": "r1", "loss": 0.5, "worst_loss": 0.5},
    ]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--ask", "Help=x"], "--ask Help=x: expected NAME=PROMPT"),
        (["--ask", "help=nowhere.txt"], "prompt nowhere.txt: cannot be read"),
        (["--loss", "nothing"], "nothing"),
        (
            ["--ask", "num_words={help}"],
            "column 'num_words' is written by this command itself; give the rating another",
        ),
        (["--ask", "record_id={help}"], "column 'record_id' is"),
        (["--ask", "question={help}"], "column 'question' is a record's own"),
        (["--ask", "a={help}", "a={help}"], "column 'a' is of --ask a=... already"),
        (["--ask", "a={help}", "a_by={help}"], "column 'a_by' is of --ask a=... already"),
        (["--ask", "a=/dev/zero"], "prompt /dev/zero: more than 1,000 kB"),
        (["--at-once", "0"], "--at-once 0: expected 1 to 1,000"),
        (["--at-once", "1000000"], "--at-once 1000000: expected 1 to 1,000"),
        (["--at-most", "-1"], "--at-most -1: expected 0 or more"),
        (["--max-tokens", "0"], "--max-tokens 0: expected 1 or more"),
    ],
)
def test_a_wrong_word_is_one_line(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    """Before anything is asked and paid for: some of them were told by a traceback after the last reply."""
    assert ask(None, "judge", *(word.replace("{help}", str(tmp_path / "help.txt")) for word in words)) == 2
    said = capsys.readouterr().err
    assert fault in said
    assert said.count("\n") == 1


def test_a_prompt_with_an_unknown_place_is_one_line(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "help.txt").write_text("Rate {caption}")
    assert judging(ask, None, tmp_path) == 2
    assert "unknown place {caption}; there are {question} and {answer}" in capsys.readouterr().err


def test_a_records_own_words_are_no_places_of_the_prompt() -> None:
    prompt = asking.Prompt(name="help", text="Q: {question} A: {answer}", max_tokens=1)
    turns = (Turn(role="user", text="fill in {answer} and {question}"), Turn(role="assistant", text="{question}"))
    (message,) = prompt.messages(Row(record_id="r", turns=turns, pictures=(), picture_sha256=()), ())
    assert message["content"] == [{"type": "text", "text": "Q: fill in {answer} and {question} A: {question}"}]
