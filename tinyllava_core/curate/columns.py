"""Columns for the mix's filters that need no model: length, script, and the losses that a training kept. It drops nothing."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.curate.rows import Row
from tinyllava_core.errors import BadInput

_NO_LETTERS = "none"


def said(rows: Iterable[Row]) -> pa.Table:
    """Give record_id, num_words (of the answers, by white space) and script (of all letters).

    A script is not a language: it tells Chinese from English, and neither French from English nor good English from bad.
    """
    found = [(row.record_id, len(row.answered.split()), script(row.asked + row.answered)) for row in rows]
    ids, words, scripts = zip(*found, strict=True) if found else ((), (), ())
    columns = {"record_id": pa.array(ids, pa.string()), "num_words": pa.array(words, pa.int32())}
    return pa.table(columns | {"script": pa.array(scripts, pa.string())})


def script(text: str) -> str:
    """Name the script of most letters of a text in small letters, as Unicode names begin with it (latin, cjk, cyrillic); "none" without any."""
    counts = Counter(name for letter in text if letter.isalpha() and (name := _script(letter)))
    return counts.most_common(1)[0][0] if counts else _NO_LETTERS


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0].lower()


def losses(training: Path, record_ids: pa.Array) -> pa.Table:
    """Give record_id, loss and worst_loss: mean of a record's supervised tokens, and of those of its worst answer, at its own step.

    Of several epochs the last. Records that the training has not seen have none. Raises BadInput if it kept no losses.
    """
    path = training / "record_losses.parquet"
    if not path.is_file():
        raise BadInput(f"{training}: kept no record_losses.parquet: it was made before there was one; train it again")
    rows = pq.read_table(path, columns=["record_id", "step", "loss_sum", "num_supervised"])
    rows = rows.filter(pc.is_in(rows["record_id"], record_ids))
    last = rows.group_by("record_id").aggregate([("step", "max")])
    rows = rows.join(last, "record_id")
    rows = rows.filter(pc.equal(rows["step"], rows["step_max"]))
    rows = rows.append_column("of_answer", pc.divide(rows["loss_sum"], rows["num_supervised"]))
    sums = [("loss_sum", "sum"), ("num_supervised", "sum"), ("of_answer", "max")]
    found = rows.group_by("record_id").aggregate(sums)
    loss = pc.divide(found["loss_sum_sum"], pc.cast(found["num_supervised_sum"], pa.float64()))
    return pa.table({"record_id": found["record_id"], "loss": loss, "worst_loss": found["of_answer_max"]})


def alike(found: pa.Table, rows: Sequence[Row]) -> pa.Table:
    """Give what was found of pictures to the records that show them first -> record_id, alike, alike_to, alike_first and, where
    benchmarks were looked at, benchmark_alike, benchmark_alike_to.

    `found`: sha256, alike, alike_to and first of each different picture, the latter two by sha256.
    """
    of = {row["sha256"]: row for row in found.to_pylist()}
    shows: dict[str, str] = {}
    for row in rows:
        if row.pictures:
            shows.setdefault(row.picture_sha256[0], row.record_id)
    mine = [(row.record_id, one) for row in rows if row.pictures and (one := of.get(row.picture_sha256[0]))]
    columns = {
        "record_id": pa.array([name for name, _ in mine], pa.string()),
        "alike": pa.array([one["alike"] for _, one in mine], pa.float32()),
        "alike_to": pa.array([shows.get(one["alike_to"] or "") for _, one in mine], pa.string()),
        "alike_first": pa.array([one["first"] == one["sha256"] for _, one in mine], pa.bool_()),
    }
    if "benchmark_alike" in found.column_names:
        columns["benchmark_alike"] = pa.array([one["benchmark_alike"] for _, one in mine], pa.float32())
        columns["benchmark_alike_to"] = pa.array([one["benchmark_alike_to"] for _, one in mine], pa.string())
    return pa.table(columns)
