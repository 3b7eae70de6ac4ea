"""`python -m flows` on a person's own photographs: every stage, then only what changed, then past a kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import duckdb
import psutil
import pytest
from waiting import wait_until

from tinyllava_core.lineage.store import open_read_only

pytestmark = pytest.mark.slow
ALL = [
    "download my-photographs",
    "inspect my-photographs",
    "download my-questions",
    "inspect my-questions",  # to compare the mixes with its pictures
    "mix pretrain",  # both stages have the same mix here, so its order and its shards are there already
    *("overlap pretrain", "overlap pretrain benchmarks"),
    *("shard pretrain", "plan pretrain", "plan sft"),
    "pretrain",
    "sft",
    "evaluate my-questions",
    "evaluate my-questions blind",
    "export",
    "report",
]
CLONE = Path(__file__).parents[2]


def jobs(workspace: Path) -> list[psutil.Process]:
    """The processes whose job file is in this workspace."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            words = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
            if any(str(workspace) in word and word.endswith("JOB.yaml") for word in words):
                found.append(process)
    return found


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def start_and_wait_for_sft(desk, *settings: str, steps: int) -> tuple[subprocess.Popen, Path]:
    """Start a run and give it back when its sft has written so many steps, with the folder where it writes them."""
    old = set((desk.workspace / "artifacts" / "sft").glob(".*.partial"))
    process = subprocess.Popen(
        desk.command(*settings), env=desk.environment(), cwd=CLONE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )

    def ledger() -> list[Path]:
        found = (desk.workspace / "artifacts" / "sft").glob(".*.partial/steps.jsonl")
        return [file for file in found if file.parent not in old and file.read_text().count("\n") >= steps]

    try:
        wait_until(lambda: ledger() or process.poll() is not None, seconds=300)
        assert process.poll() is None, "it ended before it could be killed"
    except AssertionError:
        process.kill()
        raise
    return process, ledger()[0].parent


def test_own_data_goes_through_every_stage_to_an_answer(first_run) -> None:
    desk, said = first_run
    assert desk.made_by_last_run() == ALL
    assert "my-questions" in said
    assert "error" not in said
    assert desk.ask("SELECT num_records, num_good, num_dropped FROM inspect ORDER BY source") == [
        (9, 8, 1),
        (4, 4, 0),
    ]
    assert [reason for (reason,) in desk.ask("SELECT reason FROM dropped")] != []
    answers = desk.ask("SELECT question_id, text FROM answers")
    assert len(answers) == 8  # four questions, seen and blind
    assert desk.ask("SELECT state FROM run_end") == [("Completed",)]
    seen = "SELECT DISTINCT image, benchmark_image, how, distance FROM contamination ORDER BY image"
    assert desk.ask(seen) == [
        (f"{name}.jpg", f"{name}.jpg", "bytes", 0) for name in ("chelsea", "coffee", "moon", "rocket")
    ]


def test_another_benchmark_remakes_its_own_score_and_the_report_alone_and_looks_at_all_else(first_run) -> None:
    desk, _ = first_run
    benchmarks = [str(desk.folder / f"{name}.yaml") for name in ("my-questions", "more-questions")]
    manifest = (desk.folder / "my-questions.yaml").read_text()
    (desk.folder / "more-questions.yaml").write_text(manifest.replace("my-questions", "more-questions"))
    said = desk.run(f"evaluate.benchmarks=[{', '.join(benchmarks)}]", "evaluate.blind=false").stdout
    assert desk.made_by_last_run() == [
        "download more-questions",
        "inspect more-questions",
        "overlap pretrain benchmarks",  # both stages have the same mix here
        "evaluate more-questions",
        "report",
    ]
    # of all: three made anew (overlap, report, and one asked blind that is not asked for); sft's mix, both its overlaps, its shards
    assert said.count(", cached") == len(ALL) - 3 + 4


def test_one_setting_of_sft_redoes_what_follows_alone_and_goes_on_after_kill_9(first_run) -> None:
    """Both the flow and the training process are killed; the same command goes on from the last checkpoint."""
    desk, _ = first_run
    settings = ("sft.lr=3e-4", "evaluate.benchmarks=[]", "export=null")  # that those follow: test_remade.py
    flow, folder = start_and_wait_for_sft(desk, *settings, steps=9)
    standing = "SELECT state, at_stage, last_step >= 8, last_loss > 0 FROM run_state ORDER BY started_at DESC LIMIT 1"
    with duckdb.connect(str(desk.workspace / "lineage.duckdb"), read_only=True) as plain:  # as anybody may open it
        assert plain.execute(standing).fetchall() == [("Running", "sft", True, True)]
    flow.kill()
    for process in jobs(desk.workspace):
        process.kill()
    flow.wait()
    wait_until(lambda: not jobs(desk.workspace))
    before = len(lines(folder / "steps.jsonl"))
    assert before < 80

    desk.run(*settings)
    assert desk.ask("SELECT count(*) FROM run_state WHERE state = 'Killed'") == [(1,)]
    assert desk.made_by_last_run() == ["sft", "report"]
    sft = folder.with_name(folder.name.removeprefix(".").removesuffix(".partial"))
    steps, lives = lines(sft / "steps.jsonl"), lines(sft / "lives.jsonl")
    assert [row["step"] for row in steps] == list(range(80))  # 8 records x 20 epochs, 2 a step
    first, second = (life["from_step"] for life in lives)
    assert first == 0
    assert 4 <= second <= before  # save_every: 4
    assert sum(row["num_records"] for row in steps) == 160
    assert desk.ask("SELECT count(*) FROM run WHERE run_id NOT IN (SELECT run_id FROM run_end)") == [(1,)]


def test_sigterm_ends_the_run_and_its_job(first_run) -> None:
    desk, _ = first_run
    flow, _ = start_and_wait_for_sft(desk, "sft.epochs=300", "evaluate.benchmarks=[]", steps=2)
    os.kill(flow.pid, signal.SIGTERM)
    try:
        assert flow.wait(120) == 143
    finally:
        flow.kill()  # a run that did not end would train on beside other tests
    assert jobs(desk.workspace) == []
    assert desk.ask("SELECT state FROM run_end ORDER BY ended_at DESC LIMIT 1") == [("Crashed",)]


def test_ctrl_c_ends_a_run_between_its_jobs(first_run, tmp_path: Path) -> None:
    desk, _ = first_run
    command = [*desk.command(), "--workspace", str(tmp_path)]
    with subprocess.Popen(
        command, env=desk.environment(), cwd=CLONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as flow:
        assert flow.stdout is not None
        assert any(line.startswith("download ") for line in flow.stdout)
        flow.send_signal(signal.SIGINT)
        _, said = flow.communicate(timeout=120)
    assert flow.returncode == 130
    assert said == "stopped by SIGINT; the same command goes on from here\n"
    with open_read_only(tmp_path) as connection:
        assert connection.execute("SELECT state FROM run_end").fetchall() == [("Crashed",)]


def test_bad_data_found_by_a_task_is_one_line_and_exit_code_2(first_run, tmp_path: Path) -> None:
    desk, _ = first_run
    (desk.folder / "broken.json").write_text('[{"id": 1,\n "conversations" []}]')
    (desk.folder / "broken.yaml").write_text("name: broken\nannotations: {path: broken.json, format: llava}\n")
    ran = desk.run(f"sft.mix=[{{source: {desk.folder / 'broken.yaml'}}}]", code=2)
    (said,) = ran.stderr.strip().splitlines()
    assert said.startswith("error: ")
    assert "broken.json" in said
    assert "line 2" in said
    assert "Traceback" not in ran.stdout
