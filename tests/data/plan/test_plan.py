"""The plan lays out every step: each record once, exact batches, packs that fit, the paper's step counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import make_shards, make_tokenizer, png

from tinyllava_core import parts
from tinyllava_core.data.plan.order import cut_steps
from tinyllava_core.data.plan.part import Lengths, PlanSpec
from tinyllava_core.data.plan.plan import lay_out, plan
from tinyllava_core.errors import BadInput
from tinyllava_core.parts import Language


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven records: six with one image, one with two, four without; their answers are 1 .. 11 words long."""
    make_tokenizer(tmp_path / "language")
    row = Language(weights=str(tmp_path / "language"), width=24, num_layers=2, prompt="short")
    monkeypatch.setitem(parts.LANGUAGES, "tiny", row)
    records = []
    for number in range(11):
        images = [png(number)] * (2 if number == 3 else 0 if number % 3 == 2 or number == 10 else 1)
        answer = " ".join(["red"] * (number + 1))
        records.append(([("user", "<image>" * len(images) + "\nwhat colour?"), ("assistant", answer)], images))
    make_shards(tmp_path / "shards", records)
    return tmp_path / "shards"


def spec(**changes: object) -> PlanSpec:
    values = {
        "stage": "sft",
        "tokenizer": "tiny",
        "tokenizer_sha256": "",
        "tokens_per_image": 9,
        "prompt": "short",
        "max_length": 64,
        "pack_length": 64,
        "global_batch": 4,
        "epochs": 1,
        "group_by": None,
        "seed": 0,
    }
    return PlanSpec(**(values | changes))  # type: ignore[arg-type]


def test_each_record_stands_once_in_each_epoch(shards: Path, tmp_path: Path) -> None:
    result = plan(shards, spec(epochs=3), tmp_path)
    rows = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    for epoch in range(3):
        assert sorted(row["position"] for row in rows if row["epoch"] == epoch) == list(range(11))
    assert (result.num_records, result.num_steps, result.num_voided) == (33, 9, 0)
    first = [row["position"] for row in sorted(rows, key=lambda row: row["step"]) if row["epoch"] == 0]
    assert [sorted(first[:4]), sorted(first[4:8]), sorted(first[8:])] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_the_numbers_of_the_plan_are_those_of_its_rows(shards: Path, tmp_path: Path) -> None:
    result = plan(shards, spec(), tmp_path)
    rows = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    steps = pq.read_table(tmp_path / "steps.parquet").to_pylist()
    # "USER: " + image + "\nwhat colour? ASSISTANT:" + n times " red" + end: only the answers' lengths differ
    answers = {row["position"]: row["num_supervised"] for row in rows}
    assert [answers[n] for n in range(11)] == [n + 2 for n in range(11)]
    assert result.num_supervised == sum(n + 2 for n in range(11)) == sum(step["num_supervised"] for step in steps)
    assert result.num_tokens == sum(row["num_tokens"] for row in rows) == sum(step["num_tokens"] for step in steps)
    assert [step["num_records"] for step in steps] == [4, 4, 3]
    assert result.num_images == 8
    packs = {(row["step"], row["pack"]) for row in rows}
    assert result.num_packs == len(packs) == sum(step["num_packs"] for step in steps)
    tokens = {key: sum(row["num_tokens"] for row in rows if (row["step"], row["pack"]) == key) for key in sorted(packs)}
    assert max(tokens.values()) <= 64
    longest = [max(total for (step, _), total in tokens.items() if step == number) for number in range(3)]
    assert [step["longest_pack"] for step in steps] == longest
    lockstep = sum(longest[step] for step, _ in packs)
    assert result.padding_fraction == pytest.approx(1 - result.num_tokens / lockstep, abs=1e-6)


def test_what_cannot_be_trained_on_is_kept_under_its_reason(shards: Path, tmp_path: Path) -> None:
    result = plan(shards, spec(max_length=20, prompt="plain"), tmp_path)
    voided = {row["position"]: row["reason"] for row in pq.read_table(tmp_path / "voided.parquet").to_pylist()}
    # two images of 9 and one token "red" fit 20; nothing is cut but the long captions of images (9 + n + 2 > 20: n = 10 has none)
    assert voided == {}
    tight = plan(shards, spec(max_length=16, prompt="plain"), tmp_path)
    voided = {row["position"]: row["reason"] for row in pq.read_table(tmp_path / "voided.parquet").to_pylist()}
    assert voided == {3: "image_cut"}
    assert (tight.num_records, tight.num_voided, result.num_voided) == (10, 1, 0)
    assert tight.num_truncated == sum(9 + n + 1 + 1 > 16 for n in (0, 1, 4, 6, 7, 9))
    with pytest.raises(BadInput, match=r"none of 11 records can be trained on at max_length 16"):
        plan(shards, spec(max_length=16, tokens_per_image=1000, prompt="vicuna"), tmp_path)


def test_cut_records_are_counted_where_they_are_planned(shards: Path, tmp_path: Path) -> None:
    """Of 10 records 3 are cut: 6 places in two epochs, and none of those that are held out."""
    for number, (asked, many) in enumerate(
        (({"epochs": 1}, 3), ({"epochs": 2}, 6), ({"epochs": 2, "held_out": 4}, None))
    ):
        out = tmp_path / str(number)
        told = plan(shards, spec(max_length=16, prompt="plain", **asked), out).num_truncated
        assert told == sum(pq.read_table(out / "plan.parquet")["truncated"].to_pylist())
        assert many in (told, None)


@pytest.mark.parametrize(
    ("count", "batch", "steps"),
    [
        (558_128, 256, 2181),
        (665_298, 128, 5198),
        (1_229_257, 256, 4802),
        (1_246_000, 256, 4868),  # the published description rounds 1,246,901
        (1_246_901, 256, 4871),
        (665_058, 128, 5196),
    ],
)
def test_the_papers_step_counts_stand(count: int, batch: int, steps: int) -> None:
    members = list(cut_steps(np.arange(count), np.ones(count, bool), np.ones(count), batch, None))
    assert len(members) == steps
    assert {len(one) for one in members[:-1]} == {batch}
    assert len(members[-1]) == count - (steps - 1) * batch


def test_a_whole_pretraining_is_laid_out_each_record_once() -> None:
    count = 558_128
    tokens = 729 + np.random.default_rng(0).integers(10, 60, count).astype(np.int32)
    lengths = Lengths(
        rows=np.arange(count),
        num_tokens=tokens,
        num_supervised=tokens,
        num_tiles=np.ones(count, np.int32),
        truncated=np.zeros(count, bool),
        voided_rows=np.empty(0, np.int64),
        voided_reasons=pa.array([], pa.string()),
    )
    placed = lay_out(lengths, np.ones(count), spec(max_length=2048, pack_length=16384, global_batch=256))
    assert placed["step"].max() + 1 == 2181
    assert np.array_equal(np.sort(placed["which"]), np.arange(count))
    assert np.array_equal(np.bincount(placed["step"]), [256] * 2180 + [558_128 - 2180 * 256])
    packs = placed["step"].astype(np.int64) * 1000 + placed["pack"]
    starts = np.flatnonzero(np.diff(packs, prepend=-1))
    assert (np.diff(packs) >= 0).all()
    assert (placed["slot"][starts] == 0).all()
    assert np.add.reduceat(tokens[placed["which"]], starts).max() <= 16384


def test_the_same_plan_twice_is_the_same_bytes(shards: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        plan(shards, spec(epochs=2), tmp_path / name)
    assert (tmp_path / "one" / "plan.parquet").read_bytes() == (tmp_path / "two" / "plan.parquet").read_bytes()


def test_a_record_with_more_places_than_images_is_told_by_the_plan_and_not_by_a_gpu(
    tmp_path: Path, shards: Path
) -> None:
    """A shard as another program may have written it: two tags, one image."""
    turns = [("user", "<image><image>\nwhat?"), ("assistant", "red")]
    good = [("user", "<image>\nwhat?"), ("assistant", "red")]
    make_shards(tmp_path / "wrong", [(turns, [png(0)]), (good, [png(1)])])
    plan(tmp_path / "wrong", spec(), out=make(tmp_path / "plan"))
    voided = pq.read_table(tmp_path / "plan" / "voided.parquet").to_pylist()
    assert [(row["position"], row["reason"]) for row in voided] == [(0, "image_places_mismatch")]


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder
