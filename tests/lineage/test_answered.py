"""Pages that answer themselves: the cookbook's questions, and how an answer gets its place."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import small_workspace

from tinyllava_core import cli
from tinyllava_core.lineage.answered import answer_page
from tinyllava_core.lineage.store import open_read_only, publish

COOKBOOK = Path(__file__).parents[2] / "docs" / "cookbook.md"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_workspace.make(tmp_path_factory.mktemp("answered") / "workspace")


def test_an_answer_is_put_beneath_its_question_and_a_new_one_in_its_place(workspace: Path, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("Why?\n\n```sql\nSELECT 1 AS one\n```\n\nBecause.\n")
    assert answer_page(page, workspace) == 1
    once = page.read_text()
    assert once == "Why?\n\n```sql\nSELECT 1 AS one\n```\n\n```text\none\n---\n  1\n```\n\nBecause.\n"
    page.write_text(once.replace("  1\n", "  2\n"))
    assert answer_page(page, workspace) == 1
    assert page.read_text() == once


def test_the_cookbook_asks_twenty_questions_that_another_workspace_answers_too(workspace: Path, tmp_path: Path):
    text = COOKBOOK.read_text(encoding="utf-8")
    assert re.findall(r"^\*\*(\d+)\. ", text, re.MULTILINE) == [str(n) for n in range(1, 21)]
    answers = re.findall(r"```sql\n.*?```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert len(answers) == 20
    assert all(len(answer.splitlines()) > 2 for answer in answers), "an answer without rows teaches nothing"
    page = shutil.copy(COOKBOOK, tmp_path)
    assert answer_page(Path(page), workspace) == 20


def test_what_was_asked_stands_beside_its_score_however_the_files_number_it(tmp_path: Path):
    """VQA's own files number a picture's questions alike; the number of the question itself is in the metadata."""
    home = small_workspace.make(tmp_path)
    folder = home / "artifacts" / "evaluate" / small_workspace.SEEN
    told = [("What?", 7, "a cat", 1.0), ("Where?", 8, "here", 0.0)]
    answers = [
        {"question_id": "one.jpg", "prompt": q, "text": a, "metadata": {"question_id": n}} for q, n, a, _ in told
    ]
    items = [{"question_id": n, "image": "one.jpg", "answer": a, "parsed": a, "score": s} for _, n, a, s in told]
    for name, rows in (("answers", answers), ("items", items)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    publish(home)
    with open_read_only(home) as connection:
        sql = "SELECT prompt, answer, score FROM asked WHERE fingerprint = $f ORDER BY score DESC"
        asked = connection.execute(sql, {"f": small_workspace.SEEN}).fetchall()
        unnumbered = connection.execute(
            "SELECT count(*) FROM asked WHERE fingerprint <> $f", {"f": small_workspace.SEEN}
        )
        assert unnumbered.fetchone() == (
            len((home / "artifacts" / "evaluate" / small_workspace.BLIND / "items.jsonl").read_text().splitlines()),
        )
    assert asked == [("What?", "a cat", 1.0), ("Where?", "here", 0.0)]


@pytest.mark.parametrize(("text", "fault"), [(None, "no such page"), ("No question.\n", "it asks nothing")])
def test_a_page_that_asks_nothing_is_one_line(
    text: str | None, fault: str, workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "page.md"
    if text:
        page.write_text(text)
    assert cli.main(["query", "--page", str(page), "--workspace", str(workspace)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {page}: {fault}")
