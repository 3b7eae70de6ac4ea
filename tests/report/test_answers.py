"""The answers browser: its columns are the answers, its filters count right in a real browser, and it needs nothing but its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser
from made_up_run import COLOURS, MadeUp, evaluate, lines, made_up_run

import tinyllava_core
from tinyllava_core import cli
from tinyllava_core.data.inspect.small import small
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.scoring import RIGHT
from tinyllava_core.report.answers.collect import collect, expected, gold, openings
from tinyllava_core.report.answers.write import columns, write_answers
from tinyllava_core.report.facts import RunFacts, read_jsonl
from tinyllava_core.results import EvaluateResult

MANY = 10_000


def question(*right: str) -> Question:
    return Question(question_id=1, image=None, text="?", gold=right)


def test_the_right_answers_are_counted_where_people_gave_several():
    assert gold(question("red")) == "red"
    assert gold(question(*["red"] * 8, "crimson", "rose")) == "red (8), crimson (1), rose (1)"
    assert gold(question("a", "b", "c", "d")) == "a, b, c …"
    assert gold(question()) == gold(None) == ""


def test_a_text_with_what_python_takes_for_line_ends_is_one_row(tmp_path: Path):
    """A question or an answer with U+2028 in it ended the report of a whole run: a journal writes it as it is."""
    rows = [{"text": "a\u2028b\u2029c\u0085d"}, {"text": "e"}]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert read_jsonl(tmp_path / "answers.jsonl") == rows


def test_questions_that_begin_alike_are_a_kind_where_they_are_many_and_not_all():
    """Of 300: 3 are 1 %; two are less."""
    texts = ["How many cats?"] * 295 + ["what is it"] * 3 + ["Is there a"] * 2
    assert openings(texts) == [("“how many …” (counting)",)] * 295 + [("“what is …”",)] * 3 + [()] * 2
    assert openings(["Is it?", "Is it?"]) == [(), ()]


def test_what_is_expected_is_a_kind_where_the_right_answers_are_few():
    assert expected(["yes", "no", "no", "yes"]) == [
        ("expects yes",),
        ("expects no",),
        ("expects no",),
        ("expects yes",),
    ]
    assert expected(["yes", "yes"]) == [(), ()], "of one alone nothing is told apart"
    assert expected(["a", "b", "a"]) == [(), (), ()], "one question is no kind"
    assert expected(["a", "b", "c", "d", "e"] * 2) == [()] * 10
    assert expected(["", "a", "a", ""]) == [()] * 4, "the right answers are not all told"


def test_every_answer_of_every_condition_stands_in_the_row_of_its_question(run: MadeUp):
    pope, vqa = collect([run.facts()])
    told = columns(pope, {"0.png": "a.jpg"})
    assert told["ids"] == list(range(8))
    assert told["texts"][5] == "Is there a green square?"
    assert (told["names"], told["files"][:2], told["pictures"][5]) == (
        ["0.png", "1.png", "2.png", "3.png"],
        ["a.jpg", None],
        [1],
    )
    seen, blind = told["by"]
    assert (seen["condition"], seen["scores"]) == ("seen", [1, 1, 1, 1, 1, 0, 0, 0])
    assert (blind["condition"], blind["answers"]) == ("blind", ["No"] * 4 + ["Yes"] * 4)
    assert vqa.gold[0] == "red"


def test_another_run_stands_beside_it_and_what_it_was_not_asked_is_empty(run: MadeUp, tmp_path: Path):
    other = MadeUp(tmp_path)
    other.make("evaluate", "toy-pope", {}, lambda to: dataclasses.replace(shorter(to), score=99.0))
    theirs = dataclasses.replace(run.facts(), run_id="another", stages=other.stages)
    told = columns(next(collect([run.facts(), theirs])), {})
    third = told["by"][2]
    assert (third["run"], third["answers"][:2], third["scores"][7]) == ("another", [None, None], 1.0)
    assert third["asked_alike"] is False


def shorter(folder: Path) -> EvaluateResult:
    """A run that was asked questions 4 to 7 alone, in other words, and has them right."""
    found = evaluate(folder, "toy-pope", True)
    rows = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    lines(folder / "items.jsonl", rows[4:])
    return dataclasses.replace(found, blind=False, prompt_sha256="1")


def test_a_picture_that_is_gone_or_is_none_is_no_fault(tmp_path: Path):
    (tmp_path / "text.jpg").write_text("no picture")
    assert small(None, 9, 80) is None
    assert small(tmp_path / "text.jpg", 9, 80) is None
    assert small(tmp_path / "gone.jpg", 9, 80) is None


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> RunFacts:
    """A run that was asked 10,000 questions about four pictures, seen and blind: the made-up ones, over and over."""
    run = made_up_run(tmp_path_factory.mktemp("many"))
    checkpoint = run.facts().one("sft", "sft")

    def asked(folder: Path, blind: bool) -> EvaluateResult:
        found = evaluate(folder, "toy-pope", blind)
        for name in ("items.jsonl", "answers.jsonl"):
            rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
            lines(folder / name, [{**rows[n % 8], "question_id": n} for n in range(MANY)])
        return dataclasses.replace(found, benchmark="many", num_questions=MANY)

    for blind in (False, True):
        name = "many blind" if blind else "many"
        run.make("evaluate", name, {"checkpoint": checkpoint}, lambda to, b=blind: asked(to, b))
    run.stages.append(("download", "many", run.facts().one("download", "toy-pope")))
    return run.facts()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(many: RunFacts, chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The browser's page, opened from the disk; it may complain of nothing and ask for nothing outside of its folder."""
    out = tmp_path_factory.mktemp("page")
    address = write_answers([many], out).as_uri()
    page, faults = chromium.new_page(viewport={"width": 1200, "height": 800}), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on(
        "request", lambda asked: None if asked.url.startswith((out.as_uri(), "about:")) else faults.append(asked.url)
    )
    page.goto(f"{address}#b=many")
    page.wait_for_selector(".row")
    yield page
    assert faults == []


@pytest.fixture(autouse=True)
def afresh(request: pytest.FixtureRequest) -> None:
    """Begin each test of the page without filters."""
    if "page" in request.fixturenames:
        request.getfixturevalue("page").evaluate(
            "document.activeElement.blur(); state.flags.clear(); set({kind: '', words: ''}); go(0)"
        )


def told(page: Any) -> str:
    text: str = page.inner_text("#told")
    return text.split(";")[0]


def test_ten_thousand_questions_are_a_few_rows_of_the_page_at_a_time(page: Any):
    assert told(page) == "10,000 questions"
    assert page.locator(".row").count() < 60
    page.keyboard.press("End")
    assert page.inner_text("#detail .steps .pm") == "10,000 of 10,000"
    page.wait_for_selector("#row-9999")
    assert page.locator(".row").count() < 60


def test_the_filters_count_as_one_counts_by_hand(page: Any):
    """Of each eight: 5 right, 3 wrong; blind 4 right, of which 3 are wrong with the picture; 4 need the picture."""
    expected = {"wrong": 3750, "right": 6250, "guessed": 5000, "seen": 5000, "other": 8750, "worse": 3750}
    for flag, count in expected.items():
        assert page.inner_text(f"#flag-{flag} b") == f"{count:,}"
        page.click(f"#flag-{flag}")
        assert told(page) == f"{count:,} of 10,000 questions"
        page.click(f"#flag-{flag}")
    page.click("#flag-wrong")
    assert page.inner_text("#flag-right b") == "6,250"  # what a press would leave, for it takes `wrong` away
    page.click("#flag-right")
    page.click("#flag-guessed")
    assert told(page) == "1,250 of 10,000 questions"
    assert page.inner_text(".row[aria-selected=true] .asked") == "Is there a red square?"


def test_words_and_kinds_narrow_it_and_the_address_remembers(page: Any):
    page.keyboard.press("/")
    page.keyboard.type("GREEN yes")
    assert told(page) == "2,500 of 10,000 questions"
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert told(page) == "10,000 questions"
    page.keyboard.press("w")
    page.keyboard.press("ArrowDown")
    assert "only=wrong" in page.url
    assert "at=6" in page.url  # wrong are 5, 6, 7, 13, ...
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".row")
    assert (told(page), page.inner_text("#detail .about .mono")) == ("3,750 of 10,000 questions", "many 6")


def test_another_benchmark_is_loaded_when_it_is_chosen(page: Any):
    assert page.evaluate("'toy-vqa' in data") is False
    page.click("nav button[value=toy-vqa]")
    page.wait_for_function("state.benchmark === 'toy-vqa' && now === data['toy-vqa']")
    assert told(page) == "8 questions"
    assert page.inner_text("#detail .gold td") == COLOURS[0]
    page.click("nav button[value=many]")
    assert told(page) == "10,000 questions"


def test_on_a_narrow_screen_a_question_opens_over_the_list_and_nothing_sticks_out(page: Any):
    page.set_viewport_size({"width": 380, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    page.locator(".row").first.click()
    assert page.locator("#back").is_visible()
    page.click("#back")
    assert not page.locator("#back").is_visible()
    page.locator(".row").nth(1).click()
    page.go_back()  # the browser's own, to the list and not to another page
    assert not page.locator("#back").is_visible()
    assert told(page) == "10,000 questions"
    page.set_viewport_size({"width": 1200, "height": 800})


def test_two_runs_are_read_from_either_side_and_an_answer_gives_the_command_that_asks_why(
    run: MadeUp, chromium: Any, tmp_path: Path
):
    """The first has 5 of 8 right; the other was asked the last four alone and has them right: three that the first has wrong."""
    other = MadeUp(tmp_path / "other")
    other.make("evaluate", "toy-pope", {}, lambda to: dataclasses.replace(shorter(to), score=99.0))
    theirs = dataclasses.replace(run.facts(), run_id="it's", title="variant, b", stages=other.stages)
    page = chromium.new_page(viewport={"width": 1200, "height": 800})
    page.goto(f"{write_answers([run.facts(), theirs], tmp_path).as_uri()}#b=toy-pope&only=worse&with=variant%2C+b")
    page.wait_for_selector(".row")
    assert told(page) == "3 of 8 questions"
    assert page.inner_text("#flag-worse").startswith("only variant, b right")
    assert page.locator("#kinds[open]").count() == 1
    page.click("#flag-worse")
    page.select_option("#own", label="variant, b")
    counts = {flag: page.inner_text(f"#flag-{flag} b") for flag in ("right", "wrong", "better", "worse")}
    assert counts == {"right": "4", "wrong": "0", "better": "3", "worse": "0"}
    assert page.inner_text("nav button[value=toy-pope] b") == "99.0"  # of whose answers are shown
    assert "of=variant%2C+b" in page.url
    page.click("#flag-right")
    assert page.text_content("#why code >> nth=0") == "tinyllava why 'it'\\''s' --benchmark toy-pope --question 5"
    page.set_viewport_size({"width": 380, "height": 900})
    wide = "<tr><td style='white-space: nowrap'>" + "a kind " * 40 + "</td></tr>"
    page.evaluate(f"$('kinds').hidden = false; $('kinds').open = true; $('kinds-table').innerHTML = \"{wide}\"")
    assert page.evaluate("$('kinds-table').getBoundingClientRect().width") > 380  # it scrolls in itself
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    page.close()


def test_what_is_filtered_is_printed_as_a_table(page: Any):
    page.keyboard.press("w")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#printed tbody tr").count() == 200
    assert page.locator("#printed").is_visible()
    page.emulate_media(media="screen")


def test_nothing_that_a_model_says_becomes_html(run: MadeUp, chromium: Any, tmp_path: Path):
    facts = run.facts()
    evil = MadeUp(tmp_path / "evil")

    def say(folder: Path) -> EvaluateResult:
        found = evaluate(folder, "toy-pope", False)
        rows = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
        lines(folder / "items.jsonl", [{**row, "answer": "</script><img src=x onerror=alert(1)>"} for row in rows])
        return found

    evil.make("evaluate", "toy-pope", {}, say)
    out = write_answers([dataclasses.replace(facts, stages=evil.stages)], tmp_path)
    page = chromium.new_page()
    page.goto(out.as_uri())
    page.wait_for_selector(".row")
    assert page.locator("img[src=x]").count() == 0
    assert "</script><img" in page.inner_text(".said >> nth=0")


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["answers", "nope", "--workspace", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: run 'nope': {tmp_path} has no run yet; is it the right workspace?\n"


def test_what_counts_as_right_is_one_number_in_python_sql_and_javascript() -> None:
    home = Path(tinyllava_core.__file__).parent
    assert f"RIGHT = {RIGHT}," in (home / "report" / "answers" / "answers.js").read_text()
    assert f"items.score >= {RIGHT})" in (home / "lineage" / "queries" / "stand_out.sql").read_text()
