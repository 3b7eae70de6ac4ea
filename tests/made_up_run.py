"""A made-up run for the page: real artifact folders (made by `make_once`), toy pictures, invented numbers of the right shape."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.recipe import load
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.results import (
    DownloadResult,
    EvaluateResult,
    ExportResult,
    InspectResult,
    MixResult,
    PlanResult,
    ShardResult,
    TrainResult,
)

GOOD = {"toy-captions": 90, "toy-chat": 60, "toy-places": 20}
LOST = {
    "toy-captions": {"image is missing": 2},
    "toy-chat": {"no turns": 1, "image is not readable": 3},
    "toy-places": {},
}
SCORES = {("toy-pope", False): 91.3, ("toy-pope", True): 50.7, ("toy-vqa", False): 78.6, ("toy-vqa", True): 31.2}
PARAMETERS = 1_234_567  # of each part
COLOURS = ("red", "green", "blue", "yellow")


def texts(path: Path, columns: str, *rows: Sequence[str]) -> None:
    """Write a Parquet file of texts."""
    table = [dict(zip(columns.split(), row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(table, pa.schema([(name, pa.string()) for name in columns.split()])), path)


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class MadeUp:
    """Makes the artifacts of a run, one after the other, and remembers them."""

    def __init__(self, workspace: Path, num_steps: int = 40) -> None:
        self.workspace, self.num_steps = workspace, num_steps
        self.stages: list[tuple[str, str, Artifact]] = []

    def make(
        self, stage: str, name: str, inputs: Mapping[str, Artifact], make: Callable[[Path], Any], spec: Any = None
    ) -> Artifact:
        """Make one artifact, or find it."""
        made = make_once(self.workspace, stage, 1, {"name": name, **(spec or {})}, inputs, make)
        self.stages.append((stage, name, made))
        return made

    def facts(self, **overrides: Any) -> RunFacts:
        """Give the run as its page needs it."""
        packages = {"torch": "2.9.1", "transformers": "5.4.0", "prefect": "3.8.8", "duckdb": "1.5.6"}
        return RunFacts(
            run_id="toy-20261123-021530-a1b2",
            recipe=load("toy", overrides),
            stages=self.stages,
            overrides=overrides,
            git_commit="0123456789abcdef0123456789abcdef01234567",
            git_dirty=True,
            packages=packages,
        )


def made_up_run(workspace: Path, num_steps: int = 40) -> MadeUp:
    """Make every stage of the toy recipe."""
    run = MadeUp(workspace, num_steps)
    downloads = {name: run.make("download", name, {}, lambda to, n=name: download(to, n, "source")) for name in GOOD}
    benchmarks = {
        name: run.make("download", name, {}, lambda to, n=name: download(to, n, "benchmark"))
        for name in ("toy-pope", "toy-vqa")
    }
    inspected = {
        name: run.make("inspect", name, {"download": downloads[name]}, lambda to, n=name: inspect(to, n))
        for name in GOOD
    }
    shard = ShardResult(num_shards=1, num_records=90, size_bytes=10**6, sha256="0" * 64)
    trained: Artifact | None = None
    for stage, sources in (("pretrain", ["toy-captions"]), ("sft", ["toy-chat", "toy-places"])):
        entries = [{"source": name, "share": 2.0 if name == "toy-places" else 1.0, "cap": None} for name in sources]
        inputs = {f"inspect {name}": inspected[name] for name in sources}
        mixed = run.make("mix", stage, inputs, lambda to, n=sources: mix(to, n), {"entries": entries})
        shards = run.make("shard", stage, {"mix": mixed}, lambda _: shard)
        planned = run.make("plan", stage, {"shard": shards}, lambda to, s=stage, n=sources: plan(to, s, n))
        inputs = {"shard": shards, "plan": planned} | ({"start": trained} if trained else {})
        trained = run.make(stage, stage, inputs, lambda to, s=stage: train(to, s, run.num_steps))
    assert trained is not None
    for name, downloaded in benchmarks.items():
        for blind in (False, True):
            inputs = {"download": downloaded, "checkpoint": trained}
            which = f"{name}{' blind' if blind else ''}"
            run.make("evaluate", which, inputs, lambda to, n=name, b=blind: evaluate(to, n, b))
    export = ExportResult(format="hf-llava", size_bytes=9_000_000, max_logit_difference=1e-6, equal_generations=True)
    run.make("export", "", {"checkpoint": trained}, lambda _: export)
    return run


def download(folder: Path, name: str, kind: str) -> DownloadResult:
    """A source, or a benchmark of eight questions about four one-coloured pictures."""
    (folder / "images").mkdir()
    for place, colour in enumerate(COLOURS):
        Image.new("RGB", (72, 72), colour).save(folder / "images" / f"{place}.png")
    asked = [(n, COLOURS[n % 4]) for n in range(8)]
    if name == "toy-pope":
        rows = [
            {"question_id": n, "image": f"{n % 4}.png", "text": f"Is there a {c} square?", "label": "yes"}
            for n, c in asked
        ]
        lines(folder / "annotations.json", rows)
    else:
        data = [
            {"question_id": n, "image_id": str(n % 4), "question": "What colour is it?", "answers": [c] * 10}
            for n, c in asked
        ]
        (folder / "annotations.json").write_text(json.dumps({"data": data}))
    failed = [("http://127.0.0.1/7.png", "7.png", "http 404", "not found")] if name == "toy-places" else []
    texts(folder / "failures.parquet", "url name reason detail", *failed)
    where = {"annotations": "annotations.json", "annotations_sha256": "0", "image_root": "images"}
    counts = {"num_files": 4, "num_expected": None, "size_bytes": 999, "num_requested": 0, "num_failed": len(failed)}
    return DownloadResult(source=name, kind=kind, licence="Apache-2.0", urls=f"toyworld://{name}", **where, **counts)


def inspect(folder: Path, name: str) -> InspectResult:
    """Its dropped records, by reason; their details try to be HTML."""
    reasons = [reason for reason, count in LOST[name].items() for _ in range(count)]
    dropped = [(f"{name}-{n:08d}", name, reason, f"images/{n}.png <b>") for n, reason in enumerate(reasons)]
    texts(folder / "dropped.parquet", "record_id source reason detail", *dropped)
    counts = {
        "num_records": GOOD[name] + len(dropped),
        "num_good": GOOD[name],
        "num_dropped": len(dropped),
        "num_left_out": 0,
    }
    return InspectResult(source=name, **counts, num_images=GOOD[name], image_bytes=10**6, num_repaired=0, num_noted=0)


def mix(folder: Path, sources: list[str]) -> MixResult:
    """Every good record once, toy-places twice."""
    names = mixed_sources(sources)
    pq.write_table(pa.table({"source": names}), folder / "mix.parquet")
    counts = {"num_records": len(names), "num_distinct_records": sum(GOOD[name] for name in sources)}
    left = {"num_left_out": 0, "num_duplicates": 0, "num_contaminated": 0}
    return MixResult(num_sources=len(sources), **counts, num_images=len(names), num_text_only=0, **left, seed=42)


def mixed_sources(sources: list[str]) -> list[str]:
    """Name the source of each record of a mix."""
    return [name for name in sources for _ in range(GOOD[name] * (2 if name == "toy-places" else 1))]


def plan(folder: Path, stage: str, sources: list[str]) -> PlanResult:
    """What the mix has; a caption has 30 tokens (10 supervised), the others 60 (20) and 40 (5)."""
    size = {"toy-captions": (30, 10), "toy-chat": (60, 20), "toy-places": (40, 5)}
    names = mixed_sources(sources)
    tokens, supervised = ([size[name][place] for name in names] for place in (0, 1))
    table = pa.table({"source": names, "num_tokens": tokens, "num_supervised": supervised})
    pq.write_table(table, folder / "plan.parquet")
    voided = [("toy-chat-00000007", "toy-chat", "an image is cut in two")] if stage == "sft" else []
    texts(folder / "voided.parquet", "record_id source reason", *voided)
    counts = {
        "num_records": len(names),
        "num_voided": len(voided),
        "num_truncated": 0,
        "num_held_out": 0,
        "num_packs": 9,
    }
    sums = {"num_tokens": sum(tokens), "num_supervised": sum(supervised), "num_images": len(names)}
    return PlanResult(stage=stage, num_steps=40, **counts, **sums, num_tiles=sums["num_images"], padding_fraction=0.1)


def train(folder: Path, stage: str, num_steps: int) -> TrainResult:
    """Losses that fall as losses do; sft was killed once, halfway."""
    rng = random.Random(stage)
    low, high = (0.9, 6.5) if stage == "pretrain" else (0.35, 2.4)
    falling = [math.exp(-8 * n / num_steps) for n in range(num_steps)]
    losses = [abs(low + (high - low) * part + rng.gauss(0, 0.09 + 0.2 * part)) for part in falling]
    lines(folder / "steps.jsonl", [{"step": step, "loss": loss} for step, loss in enumerate(losses)])
    lives = [0] if stage == "pretrain" else [0, num_steps // 2]
    lines(folder / "lives.jsonl", [{"life": life, "from_step": step} for life, step in enumerate(lives)])
    parts = []
    for part, trained in (("vision", False), ("connector", True), ("language", stage == "sft")):
        how = (PARAMETERS, 0, 1e-3, True) if trained else (0, None, None, False)
        named = dict(zip(("num_trained", "trainable_from_layer", "lr", "moved"), how, strict=True))
        parts.append({"part": part, "num_parameters": PARAMETERS, **named})
    lines(folder / "parts.jsonl", parts)
    counts = {"num_records": 90, "num_tokens": 9999, "num_lives": len(lives), "num_parameters": 3 * PARAMETERS}
    losses_told = {
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "held_out_loss": None,
        "best_step": None,
        "seconds": 63.0,
    }
    where = {"checkpoint_sha256": "ab" * 32, "device": "cpu", "world_size": 1, "engine": "torch", "attention": "loop"}
    return TrainResult(stage=stage, num_steps=num_steps, **counts, num_trained=PARAMETERS, **losses_told, **where)


def evaluate(folder: Path, name: str, blind: bool) -> EvaluateResult:
    """Eight answers: seen, the last three are wrong; blind, the first four. Scores are invented."""
    items, answers = [], []
    for n in range(8):
        right = n >= 4 if blind else n < 5
        answer = {"toy-pope": ("No", "Yes"), "toy-vqa": ("purple", COLOURS[n % 4])}[name][right]
        items.append(
            {
                "question_id": n,
                "image": f"{n % 4}.png",
                "answer": answer,
                "parsed": answer.lower(),
                "score": float(right),
                "cluster": f"{n % 4}.png",
                "facets": [],
                "counts": [],
                "unparsed": False,
            }
        )
        words = {"toy-pope": f"Is there a {COLOURS[n % 4]} square?", "toy-vqa": "What colour is it?"}[name]
        prompt = words + "\nAnswer the question using a single word or phrase."
        answers.append({"question_id": n, "prompt": prompt, "text": answer})
    lines(folder / "items.jsonl", items)
    lines(folder / "answers.jsonl", answers)
    scorer, variant = {"toy-pope": ("pope", "accuracy"), "toy-vqa": ("textvqa", "no-ocr")}[name]
    told = {
        "benchmark": name,
        "scorer": scorer,
        "variant": variant,
        "blind": blind,
        "corruption": None,
        "severity": None,
        "submission": None,
        "judge": None,
        "prompt_sha256": "0",
    }
    counts = {"num_questions": 8, "num_clusters": 4, "num_unparsed": 1, "answers_sha256": "0"}
    score = SCORES[name, blind]
    bounds = {"stderr": 1.4, "ci_low": score - 2.8, "ci_high": score + 2.8, "max_score": 100.0}
    return EvaluateResult(**told, metric="accuracy", score=score, **bounds, **counts)
