"""The page of a run: its numbers come from the artifacts, it needs nothing else, and nothing in it can become HTML."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from made_up_run import MadeUp, evaluate, lines, made_up_run, train

from tasks.report import Outcome
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.lineage.store import leave
from tinyllava_core.recipe import load
from tinyllava_core.report.examples import examples
from tinyllava_core.report.facts import LostRow, MixRow, RunFacts, curves, lost_rows, mix_rows, part_rows
from tinyllava_core.report.gather import gather
from tinyllava_core.report.page import write_report
from tinyllava_core.report.scores import score_rows
from tinyllava_core.results import EvaluateResult

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Checks that every element that opens is closed, in order; collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data.split()


@pytest.fixture(scope="module")
def page(run: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    result = write_report(run.facts(**{"sft.lr": 3e-4}), out)
    html = out.read_text()
    assert (result.num_tables, result.num_figures, result.size_bytes) == (7, 5, len(html.encode()))
    return html


def test_scores_have_the_blind_one_beside_the_seen_one(run: MadeUp):
    pope, vqa = score_rows(run.facts())
    assert (pope.benchmark, pope.seen.score, pope.blind.score) == ("toy-pope", 91.3, 50.7)
    assert pope.gain == pytest.approx(40.6)
    assert (vqa.benchmark, vqa.num_questions, vqa.num_unparsed) == ("toy-vqa", 8, 1)


def test_mix_shares_are_of_records_tokens_and_supervised_tokens(run: MadeUp):
    """sft: 60 chats of 60 tokens (20 supervised), 20 places twice of 40 (5): 3600 + 1600 tokens, 1200 + 200 supervised."""
    captions, chat, places = mix_rows(run.facts())
    whole = {"wanted": 100.0, "records": 100.0, "tokens": 100.0, "supervised": 100.0}
    assert captions == MixRow(stage="pretrain", source="toy-captions", share=1.0, num_records=90, **whole)
    assert (chat.source, chat.wanted, chat.records) == ("toy-chat", 60.0, 60.0)
    assert (chat.tokens, chat.supervised) == (pytest.approx(100 * 3600 / 5200), pytest.approx(100 * 1200 / 1400))
    assert (places.share, places.wanted, places.num_records) == (2.0, 40.0, 40)


def test_every_loss_has_its_count_and_its_first_example(run: MadeUp):
    rows = lost_rows(run.facts())
    assert [(row.stage, row.source, row.reason, row.count) for row in rows] == [
        ("download", "toy-places", "http 404", 1),
        ("inspect", "toy-captions", "image is missing", 2),
        ("inspect", "toy-chat", "image is not readable", 3),
        ("inspect", "toy-chat", "no turns", 1),
        ("plan sft", "toy-chat", "an image is cut in two", 1),
    ]
    expected = tuple(f"toy-chat-0000000{n}: images/{n}.png <b>" for n in (1, 2, 3))
    assert rows[2] == LostRow(
        stage="inspect", source="toy-chat", reason="image is not readable", count=3, examples=expected
    )


def test_a_killed_training_shows_where_it_went_on(run: MadeUp):
    pretrain, sft = curves(run.facts())
    assert (pretrain.stage, pretrain.resumed_at, len(pretrain.losses)) == ("pretrain", (), 40)
    assert (sft.stage, sft.resumed_at) == ("sft", (20,))


def test_parts_are_told_stage_by_stage(run: MadeUp):
    rows = [(row.stage, row.part, row.moved) for row in part_rows(run.facts())]
    moved = {"pretrain": (False, True, False), "sft": (False, True, True)}
    assert rows == [
        (stage, part, did)
        for stage in moved
        for part, did in zip(("vision", "connector", "language"), moved[stage], strict=True)
    ]


def test_examples_are_the_first_right_and_wrong_ones_about_different_pictures(run: MadeUp):
    """Questions 0-4 are right: 0 and 1 are taken. 5 and 6 are wrong; 5 shows picture 1 again, so 6 and 7 are taken."""
    pope = [example for example in examples(run.facts()) if example.benchmark == "toy-pope"]
    assert [(example.question, example.answer, example.right) for example in pope] == [
        ("Is there a red square?", "Yes", True),
        ("Is there a green square?", "Yes", True),
        ("Is there a blue square?", "No", False),
        ("Is there a yellow square?", "No", False),
    ]
    assert [(example.blind_answer, example.blind_right) for example in pope] == [("No", False)] * 2 + [
        ("Yes", True)
    ] * 2
    assert {example.expected for example in pope} == {"yes"}
    assert all((example.picture or "").startswith("data:image/jpeg;base64,") for example in pope)


def test_the_page_is_whole_html_and_tells_the_main_numbers(page: str):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    text = " ".join(parser.words)
    for told in (
        "91.3 ± 1.4",
        "50.7 ± 1.4",
        "+40.6",
        "http 404",
        "85.7 %",
        "1,234,567",
        "sft.lr = 0.0003",
        "ab" * 32,
        "torch 2.9.1",
    ):
        assert told in text, told


def test_the_page_needs_nothing_else(page: str):
    """No script, no file; its links are to the answers, the data, the card and the mixes beside it, to places in it, and to folders of its workspace."""
    assert "<script" not in page
    assert "@import" not in page
    assert all(link.startswith("data:") for link in re.findall(r'src="([^"]*)"', page))
    links = set(re.findall(r'href="([^"]*)"', page))
    beside = {"answers.html", "data.html", "model_card.html", "pretrain.croissant.json", "sft.croissant.json"}
    assert beside <= links
    assert all(link.startswith(("#", "../")) for link in links - beside)
    assert "url(" not in page


def test_nothing_that_data_says_becomes_html(page: str):
    assert "<b>" not in page
    assert "images/1.png &lt;b&gt;" in page


def test_the_page_of_a_studys_run_leads_back_to_the_study(run: MadeUp, page: str, tmp_path: Path):
    facts = RunFacts(run_id="r", recipe=run.facts().recipe, stages=[])
    write_report(facts, tmp_path / "report.html", study="../../../studies/mine/study.html")
    assert '<a href="../../../studies/mine/study.html">Back to the study</a>' in (tmp_path / "report.html").read_text()
    assert "Back to the study" not in page


def test_a_run_without_benchmarks_and_with_nothing_trained_has_a_page_too(run: MadeUp, tmp_path: Path):
    whole = run.facts()
    data_only = [stage for stage in whole.stages if stage[0] in ("download", "inspect", "mix")]
    facts = RunFacts(run_id="r", recipe=whole.recipe, stages=data_only)
    write_report(facts, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "The recipe names no benchmark." in html
    assert "Training</h2>" not in html


def test_the_pictures_of_examples_are_those_that_the_questions_were_asked_about(tmp_path: Path):
    """The job's own places, where it says them: a benchmark's pictures may lie in an image set, not in its download."""
    run = made_up_run(tmp_path / "workspace").facts()
    shown = [example.picture for example in examples(run)]
    assert all(shown)
    places = ImagePlaces.one(tmp_path / "set")
    for _, artifact in run.of("evaluate"):
        (artifact.folder / "JOB.yaml").write_text(yaml.safe_dump({"images": places.model_dump(mode="json")}))
    assert not any(example.picture for example in examples(run))
    (_, downloaded), *_ = run.of("download")
    shutil.copytree(downloaded.folder / "images", tmp_path / "set")
    assert [example.picture for example in examples(run)] == shown


def test_without_the_blind_score_and_the_pictures_the_page_says_what_is_left(run: MadeUp, tmp_path: Path):
    whole = run.facts()
    left = [s for s in whole.stages if not s[1].endswith("blind") and (s[0], s[1]) != ("download", "toy-vqa")]
    facts = dataclasses.replace(whole, stages=left)
    write_report(facts, tmp_path / "report.html")
    assert [row.gain for row in score_rows(facts)] == [None, None]
    vqa = [example for example in examples(facts) if example.benchmark == "toy-vqa"]
    assert {(example.picture, example.expected, example.blind_answer) for example in vqa} == {(None, "", None)}


def test_a_run_is_gathered_from_the_rows_that_it_left(run: MadeUp, tmp_path: Path):
    """Of two runs in one workspace, in the order of their stages, whatever the fragments are called."""
    began = datetime(2026, 1, 1, 10, tzinfo=UTC)
    for run_id in ("toy-1", "toy-12"):
        row = {
            "run_id": run_id, "recipe": "toy", "recipe_yaml": "", "recipe_sha256": "", "overrides_json": json.dumps({"seed": 7}),
            "flow_run_id": None, "git_commit": "abc", "git_dirty": False, "packages_json": '{"torch": "2.9.1"}', "host": "here",
            "seed": 7, "started_at": began,
        }  # fmt: skip
        leave(tmp_path, "run", run_id, [row])
        for place, (stage, name) in enumerate((("mix", "sft"), ("inspect", "toy-chat"))):
            used = {
                "fingerprint": f"{run_id}-{stage}",
                "made": stage == "mix",
                "started_at": began.replace(minute=59 - place),
            }
            row = {"run_id": run_id, "stage": stage, "name": name, **used, "seconds": 1.0, "task_run_id": None}
            leave(tmp_path, "stage", f"{run_id}-{stage}-{name}", [row])
    facts = gather(tmp_path, "toy-1", load("toy"))
    assert [(stage, name, artifact.fingerprint, artifact.made) for stage, name, artifact in facts.stages] == [
        ("inspect", "toy-chat", "toy-1-inspect", False),
        ("mix", "sft", "toy-1-mix", True),
    ]
    assert facts.stages[0][2].folder == tmp_path / "artifacts/inspect/toy-1-inspect"
    assert (facts.overrides, facts.packages, facts.git_commit) == ({"seed": 7}, {"torch": "2.9.1"}, "abc")


def test_the_page_is_written_without_duckdb_or_torch():
    script = "import sys, tinyllava_core.report.page, tinyllava_core.report.gather; assert not {'duckdb', 'torch', 'prefect'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_run_of_three_stages_tells_each_of_them(run: MadeUp, tmp_path: Path):
    """The middle one stands between the two in curves, parts and settings."""
    more = MadeUp(tmp_path)
    more.make("second_pretrain", "second_pretrain", {}, lambda to: train(to, "second_pretrain", 40))
    whole = run.facts()
    facts = dataclasses.replace(whole, recipe=load("toy_share"), stages=[*whole.stages, *more.stages])
    assert [curve.stage for curve in curves(facts)] == ["pretrain", "second_pretrain", "sft"]
    assert [row.stage for row in part_rows(facts)][::3] == ["pretrain", "second_pretrain", "sft"]
    write_report(facts, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "<th>pretrain</th><th>second_pretrain</th><th>sft</th>" in html
    assert "second_pretrain: loss" in html


@pytest.fixture
def robust(tmp_path: Path) -> RunFacts:
    """A run with one benchmark blurred, one whose right answers are hidden, and a mix that has a picture of the first."""
    run = made_up_run(tmp_path / "workspace")
    inputs = {"checkpoint": run.facts().one("sft", "sft")}

    def blurred(folder: Path) -> EvaluateResult:
        worse = dataclasses.replace(evaluate(folder, "toy-pope", False), score=37.5, corruption="blur", severity=3)
        path = folder / "items.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        lines(path, [{**row, "score": float(row["question_id"] < 3)} for row in rows])
        return worse

    def hidden(folder: Path) -> EvaluateResult:
        found = evaluate(folder, "toy-vqa", False)
        (folder / "items.jsonl").write_text("")
        none = dict.fromkeys(("metric", "score", "stderr", "ci_low", "ci_high", "max_score"))
        return dataclasses.replace(found, benchmark="hidden", submission="submission.json", **none)

    run.make("evaluate", "toy-pope blur-3", inputs, blurred)
    run.make("evaluate", "hidden", inputs, hidden)
    mix = run.facts().one("mix", "sft")
    columns = ("benchmark", "benchmark_image", "how", "dropped")
    rows = [("toy-pope", "0.png", way, False) for way in ("looks", "pixels", "looks")]
    rows += [("toy-pope", "1.png", "bytes", True), ("other", "2.png", "bytes", False)]
    pq.write_table(
        pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows]),
        mix.folder / "contamination.parquet",
    )
    return run.facts()


def test_corrupted_answers_are_compared_with_the_seen_ones_question_by_question(robust: RunFacts):
    """Seen: questions 0-4 of 8 are right (62.5); blurred: 0-2 (37.5)."""
    pope, vqa, hidden = score_rows(robust)
    assert [(word, measured.score) for word, measured, _ in pope.conditions] == [
        ("seen", 91.3),
        ("blind", 50.7),
        ("blur-3", 37.5),
    ]
    change = pope.changes["blur-3"]
    assert (change.first, change.second, change.difference) == (62.5, 37.5, -25.0)
    assert change.ci_low <= -25 <= change.ci_high
    assert change.p_holm == min(1.0, 3 * min(one.p_value for one in (*pope.changes.values(), *vqa.changes.values())))
    assert list(vqa.changes) == ["blind"]
    low, high = pope.gain_interval
    blind = pope.changes["blind"]
    assert (low, high) == (-blind.ci_high, -blind.ci_low)
    assert (hidden.seen, list(hidden.conditions), hidden.changes) == (None, [], {})


def test_a_clean_score_leaves_out_the_pictures_that_a_mix_has_and_kept(robust: RunFacts):
    """0.png: questions 0 and 4, both right. Without them 3 of 6 are right."""
    pope, vqa, _ = score_rows(robust)
    assert (pope.clean.num_contaminated, pope.clean.measured.score) == (2, 50.0)
    assert pope.clean.num_by_way == {"the same pixels": 2}  # the surest of the ways in which 0.png was found
    assert vqa.clean is None


def test_the_page_shows_conditions_clean_scores_and_files_to_upload(robust: RunFacts, tmp_path: Path):
    write_report(robust, tmp_path / "report.html")
    parser = Balanced()
    parser.feed((tmp_path / "report.html").read_text())
    text = " ".join(parser.words)
    assert parser.open == []
    for told in (
        "toy-pope blur-3 37.5 ± 1.4 −25.0",
        "2 of 8",
        "2: the same pixels",
        "not public",
        "submission.json",
        "within noise",
    ):
        assert told in text, told


def test_the_table_of_a_run_has_every_condition(robust: RunFacts):
    outcome = Outcome(scores=tuple(score_rows(robust)), checkpoint=Path(), report=Path(), lineage=Path())
    table = outcome.condition_table()
    assert [(row["benchmark"].split()[0], row["images"], row["score"]) for row in table][:4] == [
        ("toy-pope", "seen", "91.3 ± 1.4"),
        (
            "toy-pope",
            "clean",
            "50.0 ± 0.0",
        ),  # each picture has one right and one wrong answer: clustered by picture, no spread
        ("toy-pope", "blind", "50.7 ± 1.4"),
        ("toy-pope", "blur-3", "37.5 ± 1.4"),
    ]
    assert table[3]["change"] == "-25.0, within noise"
    assert table[1]["change"].startswith("without 2 of ")
    assert "right answers not public" in table[-1]["benchmark"]
    assert table[-1]["score"].endswith("/submission.json")
    assert {tuple(row) for row in table} == {("benchmark", "images", "score", "change", "95 % interval")}
