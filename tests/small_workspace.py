"""A workspace made by hand: two sources, both training stages, one score seen and blind. Small enough to count on paper.

cats  3 good records: 0 shows image aa.., 1 shows bb.., 2 shows aa.. again; 10 tokens each, 4 of them supervised
talk  2 records, one dropped; the good one has no image; 5 tokens, 1 of them supervised
pretrain  cats once               two records a step: steps 0 (cats 0, 1), 1 (cats 2)
sft       cats once, talk twice   two records a step: steps 0 (cats 0, talk), 1 (cats 1, talk), 2 (cats 2)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.lineage.store import leave, publish
from tinyllava_core.results import DownloadResult, EvaluateResult, InspectResult, PlanResult, TrainResult

Rows = list[dict[str, Any]]

# fingerprints: a letter and a digit for what it is, then zeros
CATS_DOWN, TALK_DOWN, POPE_DOWN, CATS, TALK, SEEN, BLIND = (
    name + "0" * 14 for name in ("d1", "d2", "d3", "c1", "c2", "e1", "e2")
)
MIX, SHARD, PLAN, TRAIN = ({"pretrain": f"{kind}1" + "0" * 14, "sft": f"{kind}2" + "0" * 14} for kind in "345f")
AA, BB = "aa" * 32, "bb" * 32
ORDER = {
    "pretrain": [("cats", 0), ("cats", 1), ("cats", 2)],
    "sft": [("cats", 0), ("talk", 1), ("cats", 1), ("talk", 1), ("cats", 2)],
}
SHOWN = {("cats", 0): [AA], ("cats", 1): [BB], ("cats", 2): [AA], ("talk", 1): []}
TURNS = [{"role": "user", "text": "<image>\nWhat is it?"}, {"role": "assistant", "text": "A cat."}]
WHEN = "2026-01-01T10:00:00+00:00"


def make(home: Path) -> Path:
    """Make the whole workspace, with one run `run-1`, published."""
    write_sources(home)
    for stage in ORDER:
        write_stage(home, stage)
    write_answers(home)
    leave_sources(home)
    for stage in ORDER:
        leave_stage(home, stage)
    for fingerprint, blind, score in ((SEEN, False, 90.0), (BLIND, True, 50.0)):
        leave_artifact(home, fingerprint, "evaluate", {"checkpoint": TRAIN["sft"], "benchmark": POPE_DOWN})
        leave_score(home, fingerprint, blind, score)
    leave_run(home, "run-1", started_at=WHEN)
    publish(home)
    return home


def write_sources(home: Path) -> None:
    """Write what `inspect` left of both sources."""
    image_columns = "path sha256 width height format size_bytes"
    cats = named(image_columns, *((f"{n}.png", SHOWN["cats", n][0], 8, 8, "PNG", 99) for n in range(3)))
    columns = "record_id source index original_id turns images num_images num_turns num_chars repairs"
    records = [(f"cats-{n:08d}", "cats", n, "x", TURNS, [cats[n]], 1, 2, 20, []) for n in range(3)]
    parquet(home, "inspect", CATS, "records", named(columns, *records))
    talk = named(columns, ("talk-00000001", "talk", 1, "x", TURNS, [], 0, 2, 20, []))
    parquet(home, "inspect", TALK, "records", talk)
    images = [{"source": "cats", **image, "reason": None} for image in cats]
    parquet(home, "inspect", CATS, "images", images, {"reason": pa.string()})
    dropped = ("talk-00000000", "talk", 0, "x", "no turns", "conversations is empty", "{}")
    columns = "record_id source index original_id reason detail record_json"
    parquet(home, "inspect", TALK, "dropped", named(columns, dropped))


def write_stage(home: Path, stage: str) -> None:
    """Write mix, shards, plan and what training left, of one stage."""
    places = [
        (n, f"{source}-{index:08d}", source, SHOWN[source, index]) for n, (source, index) in enumerate(ORDER[stage])
    ]
    mixed = [(n, record_id, source, 0, len(shown)) for n, record_id, source, shown in places]
    parquet(home, "mix", MIX[stage], "mix", named("position record_id source repeat num_images", *mixed))
    columns = "position shard place key record_id source num_images json_offset json_size image_offsets image_sizes image_sha256"
    index = [
        (n, 0, n, f"{n:09d}", record_id, source, len(shown), 512, 10, [1024] * len(shown), [99] * len(shown), shown)
        for n, record_id, source, shown in places
    ]
    parquet(home, "shard", SHARD[stage], "index", named(columns, *index))
    columns = (
        "step pack slot epoch position record_id source shard place num_tokens num_supervised num_images truncated"
    )
    planned = [
        (n // 2, 0, n % 2, 0, n, record_id, source, 0, n, *((10, 4) if shown else (5, 1)), len(shown), False)
        for n, record_id, source, shown in places
    ]
    parquet(home, "plan", PLAN[stage], "plan", named(columns, *planned))
    columns = (
        "step loss lr_vision lr_connector lr_language grad_norm num_records num_tokens num_supervised seconds life"
    )
    num_steps = (len(places) + 1) // 2
    steps = [(step, 3.0 - step, None, 1e-3, None, 1.0, 2, 20, 8, 0.5, int(step == 2)) for step in range(num_steps)]
    jsonl(home, stage, TRAIN[stage], "steps", named(columns, *steps))
    life = named("life from_step started_at world_size device", (0, 0, "2026-01-01T12:00:00+02:00", 1, "cpu"))
    jsonl(home, stage, TRAIN[stage], "lives", life)
    columns = "part num_parameters num_trained trainable_from_layer lr moved"
    jsonl(home, stage, TRAIN[stage], "parts", named(columns, ("connector", 10, 10, 0, 1e-3, True)))


def write_answers(home: Path) -> None:
    """Write one answer, right with its picture and wrong without."""
    for fingerprint, score in ((SEEN, 1.0), (BLIND, 0.0)):
        columns = "question_id image answer parsed score cluster facets counts unparsed"
        item = named(columns, (7, "a.png", ["yes", "yep"], "yes", score, "a.png", ["random"], [1.0], False))
        columns = "name value stderr ci_low ci_high n num_clusters max_score"
        subscore = named(columns, ("random.f1", 100 * score, 1.0, 0.0, 100.0, 1, 1, 100.0))
        answer = named("question_id prompt text answer_id model_id metadata", (7, "Is it?", "Yes", "1", "m", {"k": 1}))
        jsonl(home, "evaluate", fingerprint, "items", item)
        jsonl(home, "evaluate", fingerprint, "subscores", subscore)
        jsonl(home, "evaluate", fingerprint, "answers", answer)


def leave_sources(home: Path) -> None:
    """Leave the rows of downloads and inspections."""
    for down, source, kind in (
        (CATS_DOWN, "cats", "source"),
        (TALK_DOWN, "talk", "source"),
        (POPE_DOWN, "pope", "benchmark"),
    ):
        leave_artifact(home, down, "download", {})
        of_disk = {
            "annotations": "a.json",
            "annotations_sha256": "0",
            "image_root": "images",
            "num_files": 3,
            "num_expected": None,
        }
        counts = {"size_bytes": 297, "num_requested": 0, "num_failed": 0}
        found = DownloadResult(source=source, kind=kind, licence="CC0-1.0", urls="toyworld://x", **of_disk, **counts)
        leave_result(home, "download", down, found)
    for down, inspected, source, good, lost in ((CATS_DOWN, CATS, "cats", 3, 0), (TALK_DOWN, TALK, "talk", 1, 1)):
        leave_artifact(home, inspected, "inspect", {"download": down})
        counts = {
            "num_records": good + lost,
            "num_good": good,
            "num_dropped": lost,
            "num_left_out": 0,
            "num_images": 2,
            "image_bytes": 198,
            "num_repaired": 0,
            "num_noted": 0,
        }
        leave_result(home, "inspect", inspected, InspectResult(source=source, **counts))


def leave_stage(home: Path, stage: str) -> None:
    """Leave the rows of mix, shard, plan and training of one stage."""
    shares = {"cats": 1.0} if stage == "pretrain" else {"cats": 1.0, "manifests/talk.yaml": 2.0}
    entries = [{"source": source, "share": share, "cap": None} for source, share in shares.items()]
    sources = {"cats": CATS} if stage == "pretrain" else {"cats": CATS, "talk": TALK}
    leave_artifact(home, MIX[stage], "mix", sources, {"entries": entries, "seed": 42})
    leave_artifact(home, SHARD[stage], "shard", {"mix": MIX[stage], **sources})
    leave_artifact(home, PLAN[stage], "plan", {"shard": SHARD[stage]})
    inputs = {"shard": SHARD[stage], "plan": PLAN[stage]} | ({"start": TRAIN["pretrain"]} if stage == "sft" else {})
    leave_artifact(home, TRAIN[stage], stage, inputs, {"lr": 1e-3 if stage == "pretrain" else 5e-4})
    counts = {"num_records": 3, "num_tokens": 30}
    planned = {
        "num_voided": 0,
        "num_truncated": 0,
        "num_held_out": 0,
        "num_packs": 2,
        "num_supervised": 12,
        "num_images": 3,
        "num_tiles": 3,
    }
    plan = PlanResult(stage=stage, num_steps=2, **counts, **planned, padding_fraction=0.1)
    leave_result(home, "plan", PLAN[stage], plan)
    trained = {
        "first_loss": 3.0,
        "last_loss": 1.0,
        "held_out_loss": None,
        "best_step": None,
        "seconds": 1.0,
        "num_lives": 1,
        "num_parameters": 10,
    }
    how = {"device": "cpu", "engine": "torch", "attention": "loop"}
    train = TrainResult(
        stage=stage, num_steps=2, **counts, **trained, num_trained=10, checkpoint_sha256="0", world_size=1, **how
    )
    leave_result(home, "train", TRAIN[stage], train)


def leave_run(
    home: Path, run_id: str, started_at: str, *, seed: int = 42, scores: Sequence[str] = (SEEN, BLIND)
) -> None:
    """Leave a run that used every artifact."""
    columns = "run_id recipe recipe_yaml recipe_sha256 overrides_json flow_run_id git_commit git_dirty packages_json host seed"
    row = (run_id, "toy", "name: toy", "0", "{}", None, "abc", False, '{"duckdb": "1.5.6"}', "here", seed)
    leave(home, "run", run_id, named(f"{columns} started_at", (*row, started_at)))
    used = [("download", "cats", CATS_DOWN), ("download", "talk", TALK_DOWN)]
    used += [("inspect", "cats", CATS), ("inspect", "talk", TALK)]
    for stage in ORDER:
        used += [(word, stage, table[stage]) for word, table in (("mix", MIX), ("shard", SHARD), ("plan", PLAN))]
        used += [(stage, stage, TRAIN[stage])]
    used += [
        ("evaluate", name, score) for name, score in zip(("pope", "pope blind")[: len(scores)], scores, strict=True)
    ]
    for stage, name, fingerprint in used:
        leave_use(home, run_id, stage, name, fingerprint)


def leave_use(home: Path, run_id: str, stage: str, name: str, fingerprint: str) -> None:
    """Leave that a run used an artifact."""
    columns = "run_id stage name fingerprint made started_at seconds task_run_id"
    row = (run_id, stage, name, fingerprint, True, WHEN, 1.0, None)
    leave(home, "stage", f"{run_id} {stage} {name}", named(columns, row))


def leave_artifact(home: Path, fingerprint: str, stage: str, inputs: Mapping[str, str], spec: Any = None) -> None:
    """Leave an artifact and its edges."""
    columns = "fingerprint stage version folder spec_json made_at seconds size_bytes"
    row = (fingerprint, stage, 1, f"artifacts/{stage}/{fingerprint}", json.dumps(spec or {}), WHEN, 1.0, 10)
    leave(home, "artifact", fingerprint, named(columns, row))
    edges = [(fingerprint, name, value) for name, value in inputs.items()]
    leave(home, "edge", fingerprint, named("fingerprint input input_fingerprint", *edges))


def leave_score(home: Path, fingerprint: str, blind: bool, score: float | None, **more: Any) -> None:
    """Leave an evaluation's result."""
    counts = {"num_questions": 1, "num_clusters": 1, "num_unparsed": 0, "answers_sha256": "0"}
    bounds = {"stderr": 1.0, "ci_low": 0.0, "ci_high": 100.0, "max_score": 100.0}
    told = {"benchmark": "pope", "scorer": "pope", "variant": "accuracy", "judge": None, "prompt_sha256": None}
    told |= {"corruption": None, "severity": None, "submission": None}
    told |= {"metric": "accuracy", "score": score, **more}
    result = EvaluateResult(**told, blind=blind, **bounds, **counts)
    leave_result(home, "evaluate", fingerprint, result)


def leave_result(home: Path, table: str, fingerprint: str, result: Any) -> None:
    """Leave a stage's result dataclass."""
    leave(home, table, fingerprint, [{"fingerprint": fingerprint, **dataclasses.asdict(result)}])


def named(columns: str, *rows: Sequence[Any]) -> Rows:
    """Give rows their column names."""
    return [dict(zip(columns.split(), row, strict=True)) for row in rows]


def parquet(
    home: Path, stage: str, fingerprint: str, name: str, rows: Rows, kinds: Mapping[str, pa.DataType] | None = None
) -> None:
    """Write a Parquet file of an artifact; `kinds` of columns that the rows do not tell."""
    table = pa.Table.from_pylist(rows)
    for column, kind in (kinds or {}).items():
        table = table.set_column(table.column_names.index(column), column, table[column].cast(kind))
    pq.write_table(table, folder(home, stage, fingerprint) / f"{name}.parquet")


def jsonl(home: Path, stage: str, fingerprint: str, name: str, rows: Rows) -> None:
    """Write a file of JSON lines of an artifact."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder(home, stage, fingerprint) / f"{name}.jsonl").write_text(text)


def folder(home: Path, stage: str, fingerprint: str) -> Path:
    """Make an artifact's folder."""
    path = home / "artifacts" / stage / fingerprint
    path.mkdir(parents=True, exist_ok=True)
    return path
