"""Some records of a source stand for all of it: how long they are, how many cannot be used, and how sure that is."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tinyllava_core import cli
from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.estimate import looked as module
from tinyllava_core.estimate.looked import clustered, look

sys.path.insert(0, str(Path(__file__).parents[1] / "data" / "download"))
from fake_hub import serving


def test_the_mean_and_error_of_clusters_are_those_of_the_book() -> None:
    """Three of six clusters, by hand: sums of value - mean 7/3 are -10/3, 2/3, 8/3; squares 168/9 in all; (1 - 1/2) 3/2 of it over 6 squared."""
    found = clustered(np.array([1, 0, 2, 3, 4, 4]), np.ones(6), np.array([0, 0, 1, 1, 2, 2]), 0.5)
    assert found.mean == pytest.approx(14 / 6)
    sums = np.array([1 - 14 / 3, 5 - 14 / 3, 8 - 14 / 3])
    assert found.error == pytest.approx(np.sqrt(0.5 * 1.5 * (sums**2).sum()) / 6)
    assert clustered(np.array([1, 3]), np.array([3, 1]), np.array([0, 1]), 1.0).mean == 1.5
    assert clustered(np.array([1, 3]), np.ones(2), np.array([0, 1]), 1.0).error == 0, "all were read"
    assert np.isnan(clustered(np.array([1, 3]), np.ones(2), np.array([0, 0]), 0.1).error), "one cluster tells none"


def test_the_error_is_how_far_other_samples_are_away() -> None:
    """Two hundred samples of 20 of 400 row groups whose rows are alike: their spread is what one says, within a fifth."""
    rng = np.random.default_rng(0)
    population = rng.normal(10, 3, (400, 1)) + rng.normal(0, 1, (400, 5))
    found = []
    for _ in range(200):
        groups = rng.choice(400, 20, replace=False)
        found.append(clustered(population[groups].ravel(), np.ones(100), np.repeat(np.arange(20), 5), 20 / 400))
    assert np.mean([one.error for one in found]) == pytest.approx(np.std([one.mean for one in found]), rel=0.2)
    inside = [abs(one.mean - population.mean()) < 1.96 * one.error for one in found]
    assert np.mean(inside) > 0.88, "near 95 in a hundred; 20 clusters are few"


def parquet(rows: int, first: int) -> bytes:
    """Write rows in row groups of ten: the n-th of all answers in n % 7 words; every tenth has no answer."""
    picture = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    text = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string())]))
    written = [
        {
            "images": [{"bytes": b"x" * 20_000, "path": None}],
            "texts": [{"user": "What is it", "assistant": None if n % 10 == 3 else "a " * (n % 7 + 1)}],
        }
        for n in range(first, first + rows)
    ]
    table = pa.Table.from_pylist(written, pa.schema([("images", picture), ("texts", text)]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=10, compression="none", use_dictionary=False)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {f"ai2d/train-{number:05d}-of-00004.parquet": parquet(50, 50 * number) for number in range(4)}


def source(tmp_path: Path, repo: str) -> str:
    manifest = {
        "kind": "source",
        "name": "fine",
        "annotations": {"hub": {"repo": repo}},
        "images": [{"embedded": True}],
        "components": [{"name": "charts", "subsets": ["ai2d"]}],
    }
    (tmp_path / "fine.yaml").write_text(yaml.safe_dump(manifest))
    return str(tmp_path / "fine.yaml")


def in_a_folder(tmp_path: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return source(tmp_path, "./set")


def test_of_a_folder_of_parquet_some_row_groups_are_read_and_stand_for_all(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    word = in_a_folder(tmp_path, files)
    whole = look(load_manifest(word))
    assert whole is not None
    assert (whole.num_records, whole.of) == (200, "200 of 200 records, in 4 of 4 files")
    words = np.array([0 if n % 10 == 3 else n % 7 + 1 for n in range(200)])
    assert (whole.mean_of(whole.answers).mean, whole.mean_of(whole.answers).error) == (pytest.approx(words.mean()), 0)
    assert whole.mean_of(whole.unusable).mean == pytest.approx(0.1)
    assert [(kind.component, kind.images, kind.records) for kind in whole.kinds] == [("charts", 1, 200)]
    monkeypatch.setattr(module, "_ROWS", 80)
    some = look(load_manifest(word))
    assert some is not None
    assert (some.of, some.part) == ("80 of 200 records, in 4 of 4 files", 8 / 20)
    assert len(set(some.clusters.tolist())) == 8, "row groups"
    found = some.mean_of(some.answers)
    assert 0 < found.error < 0.5
    assert abs(found.mean - words.mean()) < 4 * found.error
    monkeypatch.setattr(module, "_FILES", 2)
    two = look(load_manifest(word))
    assert two is not None
    assert two.of.startswith("80 of about ")
    assert two.num_records == pytest.approx(200, rel=0.01), "by the files' sizes"
    assert len(set(two.clusters.tolist())) == 2, "files"


def test_check_asks_a_hub_for_a_few_texts_only_where_it_is_told_to(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(module, "_ROWS", 80)
    monkeypatch.chdir(tmp_path)
    word = source(tmp_path, "owner/name")
    words = [
        "check",
        "toy",
        "--set",
        "pretrain=null",
        f"sft.mix=[{{source: {word}}}]",
        "--workspace",
        str(tmp_path / "w"),
    ]

    def told(*more: str) -> dict[str, Any]:
        assert cli.main([*words, "--json", *more]) == 0
        return {row[""]: row["sft"] for row in json.loads(capsys.readouterr().out)}

    with serving(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert "unusable by text" not in told()
        assert hub.ranges == [], "nothing is asked for unasked"
        found = told("--sample")
        came = sum(stop - start for name, start, stop in hub.ranges if name.endswith(".parquet"))
        assert 0 < came < 0.3 * sum(map(len, files.values())), "footers, and texts of some row groups"
    assert found["records"] == "200"
    assert found["tokens"].endswith("of the draw and sample")
    assert found["unusable by text"] == "20 by a look", "every tenth row in any row group: no two of them differ"
