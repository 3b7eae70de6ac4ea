"""The same tables, to the byte, on any number of parts and processes, and whatever was killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data.planted import LIMITS, PlantedSource, plant

from tinyllava_core.data.inspect import inspect as module
from tinyllava_core.data.inspect import tables as inspect_tables
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.inspect.picture import look

TABLES = ["dropped.parquet", "images.parquet", "records.parquet"]


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> PlantedSource:
    return plant(tmp_path_factory.mktemp("tree"), more=200)["planted-chat"]


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def inspected(source: PlantedSource, out: Path, **options) -> dict[str, bytes]:
    out.mkdir(exist_ok=True)
    folder, result = source.downloaded()
    inspect_source(folder, result, "llava", 1.0, out, images=source.images, limits=LIMITS, **options)
    return tables(out)


def cut_small(monkeypatch, records: int, images: int, group: int = 20_000) -> None:
    monkeypatch.setattr(module, "RECORDS_PER_PART", records)
    monkeypatch.setattr(module, "IMAGES_PER_PART", images)
    monkeypatch.setattr(inspect_tables, "ROWS_PER_GROUP", group)


@pytest.mark.parametrize("group", [20_000, 16])
def test_the_bytes_do_not_depend_on_the_number_of_parts(tmp_path, monkeypatch, chat, group):
    cut_small(monkeypatch, 10_000, 10_000, group)
    whole = inspected(chat, tmp_path / "whole")
    assert sorted(whole) == TABLES
    for records, images in ((7, 30), (100, 7)):
        cut_small(monkeypatch, records, images, group)
        assert inspected(chat, tmp_path / f"cut-{records}") == whole


def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch, chat):
    whole = inspected(chat, tmp_path / "one", processes=1)
    cut_small(monkeypatch, 100, 50)
    assert inspected(chat, tmp_path / "two", processes=2) == whole


def test_finished_parts_of_an_earlier_life_are_not_done_again(tmp_path, monkeypatch, chat):
    """The first life dies at the hundredth picture; the second asks only for those whose part was not finished."""
    cut_small(monkeypatch, 50, 20)
    whole = inspected(chat, tmp_path / "whole")
    asked: list[str] = []

    def dies(places, path, limits):
        asked.append(path)
        if len(asked) == 100:
            raise KeyboardInterrupt
        return look(places, path, limits)

    with pytest.raises(KeyboardInterrupt):
        inspected(chat, tmp_path / "out", look=dies, processes=1)
    first, asked[:] = len(asked), []

    def counted(places, path, limits):
        asked.append(path)
        return look(places, path, limits)

    assert inspected(chat, tmp_path / "out", look=counted, processes=1) == whole
    total = len(set(asked)) + (first - 1) // 20 * 20
    assert len(asked) == len(set(asked))
    assert total == len({path for case in chat.cases for path in named(case.record) if case_stands(case)})


def named(record) -> list[str]:
    image = record.get("image") if isinstance(record, dict) else None
    return [] if image is None else [image] if isinstance(image, str) else image


def case_stands(case) -> bool:
    """Whether a record's pictures were looked at: it is good, or dropped for one of them."""
    return (
        case.reason is None
        or ("image" in case.reason and "tag" not in case.reason)
        or case.reason in ("absurd_aspect", "unknown_range")
    )


LIFE = """
import sys
from pathlib import Path
from data.planted import LIMITS, download_result
from tinyllava_core.data.inspect import inspect as module
from tinyllava_core.data.manifest.manifest import load
module.RECORDS_PER_PART, module.IMAGES_PER_PART = 20, 5
def main():
    name, annotations, home, manifest, out = sys.argv[1:]
    result = download_result(name, Path(annotations), Path(home))
    images = load(manifest).places(Path(home), {}, Path(annotations).parent)
    module.inspect_source(Path(home), result, "llava", 1.0, Path(out), images=images, limits=LIMITS, processes=2)
if __name__ == "__main__":
    main()
"""


def test_a_killed_inspection_goes_on_and_ends_with_the_same_bytes(tmp_path, chat):
    """kill -9 when some pictures have been looked at; what it had finished stays, and its workers end with it."""
    whole = inspected(chat, tmp_path / "whole")
    script, out = tmp_path / "life.py", tmp_path / "out"
    script.write_text(LIFE)
    out.mkdir()
    command = [sys.executable, script, chat.name, chat.annotations, chat.home, chat.manifest, out]
    home = Path(__file__).parents[3]
    env = os.environ | {"PYTHONPATH": f"{home}:{home / 'tests'}"}
    life = subprocess.Popen(command, env=env)
    while len(list((out / "parts").glob("images-*.parquet"))) < 2 and life.poll() is None:
        time.sleep(0.005)
    assert life.poll() is None, "it was killed in the middle"
    life.send_signal(signal.SIGKILL)
    life.wait()
    subprocess.run(command, env=env, check=True, timeout=120)
    assert tables(out) == whole
