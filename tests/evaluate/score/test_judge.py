"""The judge: what is sent, what is kept, and what happens when the endpoint does not behave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judge_server import JudgeServer, judge_server

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.judge import TRIES, Judge

HELLO = [{"role": "user", "content": "Hello?"}]


def judge(server: JudgeServer, tmp_path: Path, key: str | None = "secret") -> Judge:
    return Judge(server.url, "gpt-x", key, tmp_path / "judge.jsonl", wait_s=0.001)


def test_a_question_is_sent_as_a_chat_and_its_reply_kept(tmp_path: Path) -> None:
    with judge_server(["8 9"]) as server:
        one = judge(server, tmp_path)
        assert one.ask(HELLO, temperature=0.2, max_tokens=7) == "8 9"
        assert server.asked == [{"model": "gpt-x", "messages": HELLO, "temperature": 0.2, "max_tokens": 7}]
        assert server.keys == ["Bearer secret"]
    text = (tmp_path / "judge.jsonl").read_text()
    assert "secret" not in text
    assert json.loads(text)["text"] == "8 9"


def test_half_a_character_in_a_reply_is_kept_as_a_question_mark(tmp_path: Path) -> None:
    """JSON may say one; no file holds it: what had been paid for ended with a traceback, each time anew."""
    with judge_server(["8 \ud83d 9"]) as server:
        assert judge(server, tmp_path).ask(HELLO) == "8 ? 9"
    with judge_server([]) as server:
        assert judge(server, tmp_path).ask(HELLO) == "8 ? 9"


def test_what_was_asked_before_is_not_asked_again_not_even_after_a_kill(tmp_path: Path) -> None:
    with judge_server(["one", "two", "three", "four"]) as server:
        first = judge(server, tmp_path)
        assert first.ask(HELLO, temperature=0, max_tokens=3) == "one"
        assert first.ask(HELLO, temperature=0, max_tokens=3, attempt=1) == "two"  # a repeat on purpose
        with (tmp_path / "judge.jsonl").open("a") as file:
            file.write('{"request_sha256": "12')  # as if it had died while writing
        again = judge(server, tmp_path, key=None)
        assert again.ask(HELLO, temperature=0, max_tokens=3) == "one"
        assert again.ask(HELLO, temperature=0, max_tokens=3, attempt=1) == "two"
        assert again.ask(HELLO, temperature=0.5, max_tokens=3) == "three"
        assert len(server.asked) == 3
        assert server.keys[-1] is None
        assert (
            Judge(server.url, "gpt-y", None, tmp_path / "judge.jsonl").ask(HELLO, temperature=0, max_tokens=3) == "four"
        )


def test_the_identity_names_both_models_and_the_prompts_but_not_the_answers(tmp_path: Path) -> None:
    def question(context: str) -> Question:
        return Question(question_id=1, image=None, text="?", gold=("x",), context=context)

    with judge_server(lambda request: "x") as server:
        one, other = judge(server, tmp_path), judge(server, tmp_path)
        one.ask(HELLO, temperature=0, max_tokens=3)
        other.ask([{"role": "user", "content": "another model's answer"}], temperature=0, max_tokens=3)
    same = one.identity([question("a \x00")])
    assert same.startswith("gpt-x (reported judge-2026), prompts ")
    assert other.identity([question("a \x00")]) == same != one.identity([question("b \x00")])


def test_a_busy_endpoint_is_asked_again(tmp_path: Path) -> None:
    with judge_server([429, 503, "fine"]) as server:
        assert judge(server, tmp_path).ask(HELLO, temperature=0, max_tokens=3) == "fine"
        assert len(server.asked) == 3


def test_one_that_stays_busy_is_told_and_so_is_how_to_go_on(tmp_path: Path) -> None:
    with (
        judge_server([503] * TRIES) as server,
        pytest.raises(BadInput, match=rf"status 503, {TRIES} times; .* goes on from there"),
    ):
        judge(server, tmp_path).ask(HELLO, temperature=0, max_tokens=3)


def test_one_that_refuses_is_not_asked_again(tmp_path: Path) -> None:
    with judge_server([401]) as server:
        with pytest.raises(BadInput, match=r"status 401: .*check TINYLLAVA_JUDGE_URL"):
            judge(server, tmp_path).ask(HELLO, temperature=0, max_tokens=3)
        assert len(server.asked) == 1


def test_something_else_at_that_address_is_told(tmp_path: Path) -> None:
    with judge_server([{"hello": "world"}]) as server, pytest.raises(BadInput, match="not a chat completion"):
        judge(server, tmp_path).ask(HELLO, temperature=0, max_tokens=3)
    with pytest.raises(BadInput, match=f"cannot be reached, {TRIES} times"):
        judge(server, tmp_path).ask(HELLO, temperature=0, max_tokens=3)


def test_the_environment_must_name_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYLLAVA_JUDGE_URL", raising=False)
    monkeypatch.delenv("TINYLLAVA_JUDGE_KEY", raising=False)
    monkeypatch.setenv("TINYLLAVA_JUDGE_MODEL", "gpt-x")
    with pytest.raises(BadInput, match="needs a judge: set TINYLLAVA_JUDGE_URL "):
        Judge.from_environment(tmp_path / "judge.jsonl")


def test_a_broken_file_of_replies_is_told(tmp_path: Path) -> None:
    (tmp_path / "judge.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(BadInput, match=r"judge\.jsonl, line 1: not a kept reply"):
        Judge("http://127.0.0.1:1/v1", "m", None, tmp_path / "judge.jsonl")
