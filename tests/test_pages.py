"""What every page of the documentation claims and a machine can check: its links, tables, commands, YAML, SQL, tests and counts."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_workspace
import yaml

import flows.__main__ as flows_main
from tinyllava_core import cli
from tinyllava_core.data.manifest import manifest
from tinyllava_core.data.manifest.images import Images
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS
from tinyllava_core.lineage.answered import answer_page
from tinyllava_core.recipe import Recipe, load
from tinyllava_core.study import grid

ROOT = Path(__file__).parents[1]
PAGES = {page.name: page for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))}
TEXTS = {name: page.read_text(encoding="utf-8") for name, page in PAGES.items()}
EVERY_PAGE = pytest.mark.parametrize("page", PAGES)
MANIFEST = {"kind": "source", "name": "x", "licence": "x", "annotations": {"path": "x.json"}}
IMAGES = [{"folder": "x"}]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", TEXTS[page], re.DOTALL | re.MULTILINE)


def outside_blocks(page: str) -> str:
    return re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), TEXTS[page], flags=re.DOTALL)


def with_blocks(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, language) and page != "cookbook.md"])


def anchors(page: str) -> set[str]:
    """Name the headings of a page as GitHub does: small letters, blanks as hyphens, punctuation gone."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", outside_blocks(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")
        found.append(words if words not in found else f"{words}-{found.count(words)}")
    return set(found)


@EVERY_PAGE
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: str) -> None:
    for link in re.findall(r"\]\((?!http)([^)\s]+)\)", TEXTS[page]):
        path, _, heading = link.partition("#")
        target = PAGES[page].parent / path if path else PAGES[page]
        assert target.exists(), link
        assert not heading or heading in anchors(target.name), link


@EVERY_PAGE
def test_every_table_has_a_head_and_as_many_cells_in_each_row(page: str) -> None:
    """A bar inside a cell is written with a backslash in front of it, in code too (GitHub Flavored Markdown, section 4.10)."""
    lines = outside_blocks(page).split("\n")
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            if not above.startswith("|"):
                head, cells_of_head = below, cells
                assert re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", head), f"no head: {line}"
            assert cells == cells_of_head, line


def commands(page: str) -> Iterator[list[str]]:
    """Split the commands of a page's shell blocks into words, and those of its text that are more than a name."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").split("\n")
    lines += [code for code in re.findall(r"`(tinyllava [^`\n]+)`", outside_blocks(page)) if "--" in code]
    for line in lines:
        shown = re.sub(r"\[(--.*?)\]", r"\1", re.split(r"\s#", line)[0])  # [--optional]
        for part in re.split(r" \| | && | > ", shown):
            if re.match(r"(\.venv/bin/)?(tinyllava|python -m flows) ", part):
                yield shlex.split(part)


def test_every_command_of_every_page_is_one_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words, options and what `--set` sets; nothing of them is done."""
    given: list[tuple[str, dict[str, Any]]] = []
    parser = cli._parser()
    monkeypatch.setattr(cli, "_parser", lambda: parser)  # made once: that is what takes long
    for command in cli.COMMANDS.values():
        monkeypatch.setattr(command, "act", lambda args: None)
    monkeypatch.setattr(flows_main, "run", lambda name, overrides, *_: given.append((name, overrides)))
    asked = 0
    for page in PAGES:
        for words in commands(page):
            if "flows" in words:
                code = flows_main.main(words[3:])
            else:
                code = cli.main(["1" if word in ("QUESTIONS", "N", "K") else word for word in words[1:]])
            assert code == 0, f"{page}: {shlex.join(words)}: {capsys.readouterr().err}"
            asked += 1
    assert asked > 100
    faults = []
    for name, overrides in given:
        try:
            load(name, overrides)
        except BadInput as fault:
            faults.append(str(fault))
    assert all("no config.json there" in fault for fault in faults), faults  # a place of the reader's own


def test_every_option_of_a_benchmark_that_a_page_names_is_its_own() -> None:
    """Scripts of benchmarks/ are read, not started: many need minutes, or a GPU."""
    named = [found for text in TEXTS.values() for found in re.findall(r"python (benchmarks/\w+\.py)([^`\n#]*)", text)]
    assert len(named) > 20
    for script, words in named:
        source = (ROOT / script).read_text(encoding="utf-8")
        assert all(f'"{option}"' in source for option in re.findall(r"--[a-z-]+", words)), (script, words)


@with_blocks("yaml")
def test_every_yaml_of_every_page_is_taken_by_what_reads_it(page: str, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        read(yaml.safe_load(text), tmp_path)


def read(block: Any, folder: Path) -> None:
    """Read one example as what its keys say it is, with what it leaves out to be short."""
    if isinstance(block, list):
        block = {"mix": block}
    keys, file = set(block), folder / "x.yaml"
    if keys & {"recipe", "halving"}:
        given = {"name": "x", "description": "x", "recipe": "toy", **block}
        if not keys & {"grid", "variants", "mixes"}:
            given["grid"] = {"sft.lr": [1e-4, 1e-3]}
        file.write_text(yaml.safe_dump(given))
        grid.load(str(file))
    elif "url_table" in str(block.get("images")):  # one of each: no manifest has all three
        for one in block["images"]:
            Images.model_validate(one)
    elif keys & {"kind", "annotations", "allow_hosts"}:
        file.write_text(yaml.safe_dump({"images": IMAGES, **MANIFEST, **block}))
        manifest.load(str(file))
    elif "mix" in keys:
        load("base", {"sft.mix": block["mix"]})
    else:
        assert keys <= {"extends", "start", *Recipe.model_fields}, f"what is this? {keys}"
        file.write_text(yaml.safe_dump({"extends": "base", **block}))
        load(str(file))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_workspace.make(tmp_path_factory.mktemp("pages") / "workspace")


@with_blocks("sql")  # of the cookbook: tests/lineage/test_answered.py
def test_every_question_in_sql_of_every_page_can_be_asked(page: str, workspace: Path, tmp_path: Path) -> None:
    assert answer_page(Path(shutil.copy(PAGES[page], tmp_path)), workspace) == len(blocks(page, "sql"))


def test_every_test_that_a_page_names_is_there() -> None:
    tests = list((ROOT / "tests").rglob("test_*.py"))
    there = {file.stem for file in tests}.union(*(re.findall(r"def (test_\w+)", file.read_text()) for file in tests))
    named = {(page, name) for page, text in TEXTS.items() for name in re.findall(r"`(?:\S*::)?(test_\w{12,})`", text)}
    assert len(named) > 100
    assert not {(page, name) for page, name in named if name not in there}


def test_what_the_pages_count_is_so_many() -> None:
    assert f"# {len(manifest.known())} manifests: " in TEXTS["README.md"]
    scored = len(set(BENCHMARKS) - {"own"})
    assert f"one of {scored} benchmarks" in TEXTS["README.md"]
    rows = re.search(r"## The table\n(.*?)\n## ", TEXTS["evaluation.md"], re.DOTALL)
    assert rows is not None
    assert set(re.findall(r"^\| `([\w-]+)`", rows[1], re.MULTILINE)) == set(BENCHMARKS) - {"infovqa"}  # beside docvqa
    assert scored == 30, "evaluation.md says it in a word: Thirty"
