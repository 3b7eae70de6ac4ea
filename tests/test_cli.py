"""The command `tinyllava`: what it prints, what it starts, and what it says to wrong input."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_workspace

from tinyllava_core import cli
from tinyllava_core.commands.of_data import preview


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_workspace.make(tmp_path_factory.mktemp("cli") / "workspace")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the command lets take its place, instead of that happening."""
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: calls.append([program, *words]))
    return calls


def test_query_alone_lists_the_shipped_queries(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["query"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "clean_scores",
        "compare_runs",
        "contamination",
        "mix_shares",
        "nothing_lost",
        "records_at_step",
        "stand_out",
        "suspects",
        "what_trained_this",
        "what_was_mended",
        "who_saw_this_image",
        "why_dropped",
        "why_left_out",
    ]
    assert "sha256" in lines[12]
    assert "[run] [source]" in lines[13]


def test_a_pipe_gets_plain_aligned_columns(workspace: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["query", "mix_shares", "--workspace", str(workspace)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "stage     source  component  share  wanted  records  tokens  supervised  num_records",
        "--------  ------  ---------  -----  ------  -------  ------  ----------  -----------",
        "pretrain  cats                   1     100      100     100         100            3",
        "sft       cats                   1      60       60      75        85.7            3",
        "sft       talk                   2      40       40      25        14.3            2",
    ]


def test_values_may_stand_before_and_after_options(workspace: Path, capsys: pytest.CaptureFixture[str]):
    words = ["query", "why_dropped", "source=talk", "--format", "csv", "run=run-1", "--workspace", str(workspace)]
    assert cli.main(words) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["reason"], row["count"]) for row in rows] == [("no turns", "1")]


def test_json_keeps_lists_nothing_and_times(workspace: Path, capsys: pytest.CaptureFixture[str]):
    sql = "SELECT [1, 2] AS list, NULL AS nothing, 'nan'::DOUBLE AS odd, 1.5 AS decimal, started_at FROM run"
    assert cli.main(["query", sql, "--format", "json", "--workspace", str(workspace)]) == 0
    expected = {"list": [1, 2], "nothing": None, "odd": None, "decimal": 1.5, "started_at": "2026-01-01 10:00:00"}
    assert json.loads(capsys.readouterr().out) == [expected]


def test_numbers_are_written_as_short_as_they_can_be(workspace: Path, capsys: pytest.CaptureFixture[str]):
    sql = "SELECT unnest([0.1, 2e-5, 1234567.5, 0, 3e20])::DOUBLE AS number"
    assert cli.main(["query", sql, "--workspace", str(workspace)]) == 0
    assert capsys.readouterr().out.split()[2:] == ["0.1", "2e-05", "1234567.5", "0", "3e+20"]


def test_a_terminal_gets_a_table(workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["query", "SELECT 'a [b]' AS word, 1.5 AS number", "--workspace", str(workspace)]) == 0
    out = capsys.readouterr().out
    assert "a [b]" in out
    assert "─" in out


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_stranger_wrote_does_not_steer_the_terminal(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
):
    """Clear the screen, name the window, write backwards: ESC, BEL, C1 and bidirectional marks are shown, not sent."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    sql = "SELECT chr(27) || '[2J' || chr(7) || 'é' || chr(155) || chr(8238) AS word"
    assert cli.main(["query", sql, "--workspace", str(workspace)]) == 0
    out = capsys.readouterr().out
    assert r"\x1b[2J\x07é\x9b\u202e" in out
    assert "\x1b[2J" not in out
    assert not set(out) & set("\x07\x9b\u202e")


def test_the_workspace_comes_from_the_environment_too(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TINYLLAVA_WORKSPACE", str(workspace))
    assert cli.main(["query", "SELECT count(*) AS runs FROM run", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "runs\n1\n"


def test_recipes_are_listed_with_their_descriptions(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["recipes"]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["toy", "the toy world, on a laptop"] in listed


def test_run_hands_over_to_the_flow(started: list[list[str]], tmp_path: Path):
    words = [
        "run",
        "toy",
        "--set",
        "sft.lr=1.0e-4",
        "seed=7",
        "--set",
        "evaluate.benchmarks=[toy-pope]",
        "--workspace",
        str(tmp_path),
    ]
    cli.main(words)
    settings = ["--set", "sft.lr=1.0e-4", "--set", "seed=7", "--set", "evaluate.benchmarks=[toy-pope]"]
    assert started == [[sys.executable, sys.executable, "-m", "flows", "toy", *settings, "--workspace", str(tmp_path)]]


def test_import_hands_over_to_the_importer(started: list[list[str]]):
    cli.main(["import", "their/checkpoint", "--out", "ours", "--prompt", "vicuna", "--vision-weights", "clip"])
    options = ["--out", "ours", "--vision-weights", "clip", "--prompt", "vicuna"]
    expected = ["-m", "tinyllava_core.model.foreign.importer", "their/checkpoint", *options]
    assert started == [[sys.executable, sys.executable, *expected]]


def test_ask_hands_over_to_the_answerer(started: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "checkpoint").mkdir(parents=True)
    for name in ("some/checkpoint/config.json", "cat.png"):
        (tmp_path / name).touch()
    cli.main(["ask", "some/checkpoint", "cat.png", "--max-new-tokens", "9", "What is it?"])
    numbers = '"batch":null,"out":null,"batch_size":16,"max_new_tokens":9,"device":"auto"'
    job = (
        f'{{"checkpoint":"{tmp_path}/some/checkpoint",'
        + '"images":["cat.png"],"question":"What is it?",'
        + numbers
        + "}"
    )
    expected = ["-m", "tinyllava_core.evaluate.answer.ask", job]
    assert started == [[sys.executable, sys.executable, *expected]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query", "why_droped"], "unknown query 'why_droped'; nearest: 'why_dropped'"),
        (["query", "why_dropped", "talk"], "'talk': expected key=value"),
        (["query", "who_saw_this_image"], "needs sha256="),
        (["query", "SELEC 1"], 'SQL: Parser Error: syntax error at or near "SELEC"'),
        (["query", "SELECT 1", "--workspace", "/nowhere/at/all"], "/nowhere/at/all: no lineage here"),
        (["ask", "checkpoint"], "no question; expected: tinyllava ask CHECKPOINT [IMAGE ...]"),
        (["ask", "checkpoint", "a.jpg", " "], "the question is empty"),
        (["ask", "checkpoint", "--batch", "q.jsonl"], "--batch and --out belong together"),
        (["ask", "checkpoint", "what?", "--batch", "q", "--out", "a"], "the questions are in the file; found 'what?'"),
        (["ask", "checkpoint", "what?", "--max-new-tokens", "0"], "--max-new-tokens = 0; expected 1 or more"),
        (["data", "preview", "mine.json"], "`tinyllava init PICTURES mine.json` writes one"),
        (["run", "toi"], "unknown recipe 'toi'; nearest: 'toy'"),
        (["run", "toy", "--set", "sft.lrr=1"], "'sft.lrr': the recipe has no such field; nearest: 'sft.lr'"),
        (["run", "toy", "--set", "sft.epochs=many"], "sft.epochs = 'many'"),
        (["run", "toy", "--set", "sft.lr"], "'sft.lr': expected key=value"),
        (["run", "toy", "--set", "sft.mix=[{"], "--set sft.mix=[{: the value is not YAML"),
        (["run", "toy", "--set", "sft.lr=2026-02-31"], "--set sft.lr=2026-02-31: the value is not YAML"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(
    workspace: Path,
    started: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("TINYLLAVA_WORKSPACE", str(workspace))
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("error: ")
    assert (out, err.count("\n"), started) == ("", 1, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["eval", "latest"],
            "tinyllava: unknown COMMAND 'eval'; nearest: 'evaluate'; what may be given: tinyllava --help",
        ),
        (["trian", "toy"], "tinyllava: unknown COMMAND 'trian'; to train: tinyllava run RECIPE"),
        (["fine-tune", "latest"], "unknown COMMAND 'fine-tune'; to finetune: tinyllava tune CHECKPOINT SOURCE"),
        (["ru", "toy"], "unknown COMMAND 'ru'; nearest: 'run'"),
        (["query", "--fromat", "csv"], "tinyllava query: '--fromat': not understood"),
        (
            ["run"],
            "tinyllava run: the following arguments are required: RECIPE; what may be given: tinyllava run --help",
        ),
        (["run", "toy", "more"], "tinyllava run: 'more': not understood"),
        (["query", "--format", "cvs"], "unknown --format 'cvs'; nearest: 'csv'"),
        (["data", "lits"], "tinyllava data: unknown WORD 'lits'; nearest: 'list'"),
        (["data", "list", "--kind", "qqq"], "unknown --kind 'qqq'; known: "),
        (["gc", "--keep", "few"], "tinyllava gc: argument --keep: invalid int value: 'few'"),
    ],
)
def test_a_wrong_command_line_is_one_line_as_well(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err[:7], err.count("\n")) == ("", "error: ", 1)


def test_a_manifest_is_not_taken_for_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "mine.yaml"
    manifest.write_text("kind: source\nname: mine\n")
    assert cli.main(["run", str(manifest)]) == 2
    err = capsys.readouterr().err
    assert f"error: {manifest}: a manifest (kind: source), expected a recipe, whose stages name it under `mix`" in err
    assert f"`tinyllava tune CHECKPOINT {manifest}`" in err


def test_the_command_alone_says_what_to_begin_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr().err
    first = shown[shown.index("to begin with:") :]
    assert {words.split()[1] for words in first.splitlines() if words.startswith("  tinyllava")} < cli.COMMANDS.keys()


def test_each_command_says_on_its_own_page_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["gc"], ["data", "preview"], ["check"]):
        with pytest.raises(SystemExit):
            cli.main([*words, "--help"])
        help_of = cli.COMMANDS[words[0]].HELP if len(words) == 1 else preview.HELP
        assert help_of[1:] in " ".join(capsys.readouterr().out.split())


def test_a_query_starts_without_what_it_does_not_need(workspace: Path):
    """Prefect and torch would cost seconds, pyarrow a tenth of one."""
    script = f"""
import sys
from tinyllava_core import cli
assert cli.main(["query", "mix_shares", "--workspace", {str(workspace)!r}]) == 0
heavy = {{"torch", "transformers", "prefect", "pyarrow", "pydantic", "rich", "numpy", "pandas"}} & sys.modules.keys()
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error(workspace: Path):
    words = [
        sys.executable,
        "-c",
        "import sys; from tinyllava_core.cli import main; sys.exit(main())",
        "query",
        "SELECT * FROM range(200000)",
    ]
    with subprocess.Popen(
        [*words, "--workspace", str(workspace)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_the_command_is_installed(workspace: Path):
    command = shutil.which("tinyllava", path=str(Path(sys.executable).parent))
    assert command is not None, "the package is not installed: pip install -e ."
    ran = subprocess.run(
        [command, "query", "SELECT 1 AS one", "--workspace", str(workspace)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "one\n---\n  1\n")


def test_up_and_down_hand_over_and_up_says_where_its_deployments_are(
    started: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("up", "down"):
        assert cli.main([word, "--workspace", str(tmp_path)]) == 0
    words = [
        [sys.executable, sys.executable, "-m", "tasks.running.stay", word, "--workspace", str(tmp_path)]
        for word in ("up", "down")
    ]
    assert started == words
    assert cli.main(["up", "--where"]) == 0
    assert "name: full-pipeline" in Path(capsys.readouterr().out.strip()).read_text()
