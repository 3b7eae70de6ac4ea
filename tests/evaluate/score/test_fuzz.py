"""Every benchmark's readers on files that somebody broke: they are read, or refused in one line; nothing else happens."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmark_samples import SAMPLES, Sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyllava_core import cli
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS

JUDGED = {name for name, row in BENCHMARKS.items() if row.variant(None).judged}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800") | st.just(10**30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
QUIET = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def test_every_benchmark_has_a_sample() -> None:
    assert set(SAMPLES) == set(BENCHMARKS)


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - JUDGED))
def test_right_answers_score_in_full(tmp_path: Path, name: str) -> None:
    sample = SAMPLES[name](tmp_path / name)
    code, _, err = scored(name, sample, tmp_path / "scores.json")
    assert (code, err) == (0, "")
    told = json.loads((tmp_path / "scores.json").read_text())
    assert (told["score"], told["num_ignored"]) == (pytest.approx(sample.right), 0)


@pytest.mark.parametrize("name", sorted(SAMPLES))
@QUIET
@given(which=st.integers(0, 1000), place=st.integers(0, 10_000), value=VALUES, how=st.sampled_from(("put", "drop")))
def test_a_changed_value_anywhere_is_read_or_refused(name: str, which: int, place: int, value: Any, how: str) -> None:
    with broken(name) as (sample, files):
        change(files[which % len(files)], place, value, how)
        check(name, sample)


@pytest.mark.parametrize("name", sorted(SAMPLES))
@QUIET
@given(which=st.integers(0, 1000), seed=st.integers(0, 2**32), junk=st.binary(max_size=12))
def test_changed_bytes_anywhere_are_read_or_refused(name: str, which: int, seed: int, junk: bytes) -> None:
    with broken(name) as (sample, files):
        path, rng = files[which % len(files)], random.Random(seed)
        content = path.read_bytes()
        start, end = sorted(rng.choices(range(len(content) + 1), k=2))
        path.write_bytes(content[:start] + junk + content[min(end, start + rng.choice((0, 1, 9, 10**6))) :])
        check(name, sample)


@contextlib.contextmanager
def broken(name: str) -> Iterator[tuple[Sample, list[Path]]]:
    """Make a sample anew, and list its files."""
    folder = Path(tempfile.mkdtemp())
    try:
        sample = SAMPLES[name](folder / name)
        yield sample, sorted(path for path in folder.rglob("*") if path.is_file())
    finally:
        shutil.rmtree(folder)


def check(name: str, sample: Sample) -> None:
    folder = sample.answers.parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, err = scored(name, sample, folder / "scores.json")
    assert code in (0, 2)
    if code == 2:
        assert (out, err.count("\n")) == ("", 1), err
        assert err.startswith("error: ")
        assert not (folder / "scores.json").exists()
    else:
        for line in (
            (folder / "scores.json").read_text(),
            *(folder / "scores.items.jsonl").read_text().split("\n")[:-1],
        ):
            json.loads(line, parse_constant=refuse)
    assert not list(folder.rglob("*.partial"))
    assert {path: path.read_bytes() for path in before} == before


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def scored(name: str, sample: Sample, out: Path) -> tuple[int, str, str]:
    words = ["score", name, "--answers", sample.answers, "--annotations", sample.annotations, "--out", out]
    printed, faults = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(faults):
        code = cli.main([*map(str, words)])
    return code, printed.getvalue(), faults.getvalue()


def change(path: Path, place: int, value: Any, how: str) -> None:
    """Put a value into a place of a JSON file, or drop what is there; in a text file, into a line; into bytes, a byte."""
    if path.suffix == ".parquet":
        content = bytearray(path.read_bytes())
        content[place % len(content)] = place // 7 % 256
        path.write_bytes(content)
        return
    text = path.read_text(encoding="utf-8")
    lines = path.suffix == ".jsonl" or "coco_pope" in path.name
    try:
        tree = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    except ValueError:
        rows = text.split("\n")
        cells = rows[place % len(rows)].split("\t")
        cells[place // 7 % len(cells) :: 1 if how == "drop" else len(cells)] = [str(value).replace("\ud800", "?")]
        rows[place % len(rows)] = "\t".join(cells)
        path.write_text("\n".join(rows), encoding="utf-8")
        return
    spots = list(walk(tree))
    put, drop = spots[place % len(spots)]
    put(value) if how == "put" else drop()
    dump: Callable[[Any], str] = json.dumps
    path.write_text("".join(dump(row) + "\n" for row in tree) if lines else dump(tree), encoding="utf-8")


def walk(tree: Any) -> Iterator[tuple[Callable[[Any], None], Callable[[], None]]]:
    """Give every place in a tree: how to put a value there, and how to drop it."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield lambda value, key=key: tree.__setitem__(key, value), lambda key=key: tree.__delitem__(key)
        yield from walk(tree[key])
