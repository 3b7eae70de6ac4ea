"""Mistakes that a person makes on day one: each is one line with what to do, before anything heavy starts."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import small_workspace

import flows.__main__
from tasks.running import runner
from tasks.running.runner import check_runner
from tinyllava_core import cli
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.launch import Launch


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Give the one line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_workspace.make(tmp_path_factory.mktemp("books"))


def test_a_workspace_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert flows.__main__.main(["toy", "--workspace", str(tmp_path / "file" / "inside")]) == 2
    assert f"{tmp_path / 'file'} is a file; name a folder with --workspace" in said(capsys)
    assert cli.main(["data", "preview", "toy-chat", "--workspace", str(tmp_path / "file")]) == 2
    assert "is a file" in said(capsys)


@pytest.mark.parametrize("name", ["what?", "back\\slash", "two\nlines", "half \udce4"])
def test_a_workspace_whose_path_duckdb_does_not_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """It writes its log beside a path that is cut at the question mark."""
    assert flows.__main__.main(["toy", "--workspace", str(tmp_path / name)]) == 2
    assert "name another with --workspace" in said(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_without_write_rights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "theirs").mkdir(mode=0o555)
    assert flows.__main__.main(["toy", "--workspace", str(tmp_path / "theirs")]) == 2
    assert "may not be written in" in said(capsys)


@pytest.mark.parametrize("inside", ["artifacts/shard", "lineage", "lineage/fragments/run"])
def test_a_folder_in_the_workspace_that_may_not_be_written(
    tmp_path: Path, small_disk: Callable[[str], Path], capsys: pytest.CaptureFixture[str], inside: str
) -> None:
    """As after a disk that the system took for damaged: root may not write there either."""
    disk = small_disk("1m")
    (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / inside).symlink_to(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert flows.__main__.main(["toy", "--workspace", str(tmp_path)]) == 2
    assert f"{tmp_path / inside} may not be written in" in said(capsys)


def test_a_disk_that_becomes_read_only_under_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "artifacts/mix/.a.partial/mix.parquet"))

    monkeypatch.setattr(flows.__main__, "run", fails)
    assert flows.__main__.main(["toy", "--workspace", str(tmp_path)]) == 2
    assert "mix.parquet: Read-only file system; with the right to it, the same command goes on" in said(capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["query", "SELECT '\udcff'"], "query: \"SELECT '\\udcff'\": bytes that are no text in UTF-8"),
        (["compare", "\udcff", "a"], "compare: '\\udcff': bytes that are no text in UTF-8"),
        (["query", "SELECT 1", "--workspace", "x" * 300], "File name too long"),
    ],
)
def test_words_that_are_no_text_and_places_that_are_none_are_one_line(
    books: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert cli.main(words if "--workspace" in words else [*words, "--workspace", str(books)]) == 2
    assert told in said(capsys)


@pytest.mark.parametrize("name", ["a\nrm -rf ~", "a\x1b[31m", " ", "a\u2028b"])
def test_a_recipe_whose_name_is_more_than_a_line_comes_into_no_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """`tinyllava slurm` wrote the rest of a stranger's name as a line of the batch script."""
    (tmp_path / "r.yaml").write_text(json.dumps({"extends": "toy", "name": name}))
    assert cli.main(["slurm", str(tmp_path / "r.yaml")]) == 2
    assert "expected a line of text, without line ends" in said(capsys)


def test_a_job_has_a_name_that_slurm_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slurm", "toy", "--set", "name=$(id) of me; id"]) == 0
    assert "#SBATCH --job-name=tinyllava--id-of-me-id\n" in capsys.readouterr().out


def test_a_file_where_a_folder_of_the_workspace_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "artifacts").write_text("mine")
    assert flows.__main__.main(["toy", "--workspace", str(tmp_path)]) == 2
    assert f"{tmp_path / 'artifacts'} is a file where a folder belongs" in said(capsys)


def test_the_flows_command_takes_the_workspace_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TINYLLAVA_WORKSPACE", str(tmp_path / "file"))
    assert flows.__main__.main(["toy"]) == 2
    assert str(tmp_path / "file") in said(capsys)


def test_the_flows_command_speaks_of_a_wrong_word_as_every_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert flows.__main__.main(["toy", "--untilplan"]) == 2
    assert "python -m flows: unrecognized arguments: --untilplan; what may be given" in said(capsys)


def test_a_gpu_that_is_not_there_is_missed_before_the_data_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "has_gpu", lambda: False)
    with pytest.raises(BadInput, match=r"launch.device is cuda, and this machine has no GPU"):
        check_runner(Launch(device="cuda"))
    check_runner(Launch(device="auto"))
    check_runner(Launch(device="cuda", launcher="torchrun", nodes=2, rendezvous="host:1"))  # of another machine
    monkeypatch.setattr(runner, "has_gpu", lambda: True)
    check_runner(Launch(device="cuda"))


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["chat", str(tmp_path), "--port", str(port)]) == 2
    assert f"--port = {port}: something listens there already" in said(capsys)


def test_a_picture_or_a_checkpoint_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    assert cli.main(["ask", "model", "cat.jpg", "What is it?"]) == 2
    assert "cat.jpg: no such picture" in said(capsys)
    assert cli.main(["ask", "latest", "What is it?"]) == 2
    assert "nothing was trained here yet" in said(capsys)
    assert "torch" not in said_modules(["ask", "model", "cat.jpg", "What?"], tmp_path)


def said_modules(words: list[str], folder: Path) -> list[str]:
    """Run a command and give the modules that it imported."""
    script = f"import sys; from tinyllava_core import cli; cli.main({words!r}); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=folder)
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("records_at_step step=3", "step=3: there is no such step; that training's are 0 to 2"),
        ("records_at_step step=2 checkpoint=f1", "step=2: there is no such step; that training's are 0 to 1"),
        ("records_at_step step=-1", "step=-1: there is no such step"),
        ("records_at_step step=last", "step=last: there is no such step"),
        ("why_dropped source=cat", "source=cat: there is no such source in this lineage; nearest: 'cats'"),
        ("compare_runs second=run-9", "second=run-9: there is no such run in this lineage; the newest: run-1"),
        (
            "why_left_out stage=tuning",
            "stage=tuning: there is no such training stage in this lineage; nearest: 'pretrain'; there are",
        ),
        ("suspects by=size", "by=size: there is no such group"),
    ],
)
def test_a_query_about_what_is_not_there_names_what_is(
    books: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert cli.main(["query", *words.split(), "--workspace", str(books)]) == 2
    assert message in said(capsys)


def test_a_query_about_what_is_there_by_its_first_letters_is_answered(books: Path) -> None:
    for words in ("records_at_step step=2", "who_saw_this_image sha256=aa", "why_dropped source=talk run=run"):
        assert cli.main(["query", *words.split(), "--workspace", str(books)]) == 0


@pytest.mark.parametrize(("name", "newest"), [("checkpoint", small_workspace.TRAIN["sft"]), ("run", "run-1")])
def test_a_query_about_what_is_not_there(
    books: Path, capsys: pytest.CaptureFixture[str], name: str, newest: str
) -> None:
    question = {"checkpoint": "what_trained_this", "run": "contamination"}[name]
    assert cli.main(["query", question, f"{name}=feed", "--workspace", str(books)]) == 2
    line = said(capsys)
    assert f"{name}=feed: there is no such {name} in this lineage; the newest: " in line
    assert newest in line
    assert cli.main(["query", question, f"{name}=latest", "--workspace", str(books)]) == 0


def test_a_persons_own_tasks_and_flows_shadow_nothing(tmp_path: Path) -> None:
    """They lie in the working directory; the command hands over to ours, and so does all that is started from there."""
    for name in ("tasks", "flows", "yaml", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    words = ["run", "toy", "--set", "evaluate.benchmarks=[toy-poep]", "--workspace", str(tmp_path / "workspace")]
    command = Path(sys.executable).with_name("tinyllava")
    ran = subprocess.run([command, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ran.returncode, "nearest: 'toy-pope'" in ran.stderr) == (2, True), ran.stderr


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.metadata

    import tinyllava_core

    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    installed = importlib.metadata.version("tinyllava-pipelines")
    assert (capsys.readouterr().out.strip(), tinyllava_core.__version__) == (installed, installed)


def test_runs_are_listed_with_how_they_stand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_workspace.make(tmp_path)
    assert cli.main(["runs", "--json", "--workspace", str(tmp_path)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run_id"], row["recipe"]) == ("run-1", "toy")
    assert row["state"] in ("Completed", "Running")
