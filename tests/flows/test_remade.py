"""Change one field, remake one thing: the whole story is told twice without any work, and the fingerprints are compared.

What each field remakes stands as a table in docs/remade.md; this test reads it from the code, field by field.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect.tasks import Task

import flows.full_pipeline as story
import tasks.record
from tasks.run import Run
from tinyllava_core.artifact import Artifact, canonical, fingerprint
from tinyllava_core.parts import language_row
from tinyllava_core.recipe import Recipe, all_fields
from tinyllava_core.results import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "remade.md"
STAGES = (
    *("choose", "download", "inspect", "mix", "overlap", "shard", "plan", "features", "pretrain", "sft"),
    *("evaluate", "export", "report"),
)
OTHER_LANGUAGE = str(Path(language_row("toy-llama").weights).resolve())
_HOME = tempfile.TemporaryDirectory()  # of a table that a plan is sorted by, for as long as the tests run
SCORES = f"{_HOME.name}/scores.parquet"
pq.write_table(pa.table({"record_id": ["a", "b"], "loss": [1.0, 2.0], "length": [2, 5]}), SCORES)
# Each field with another value. Where it needs others beside it: those on both sides come first, those beside the new one last.
CHANGED: dict[str, tuple[Any, ...]] = {
    "name": ({}, "other"),
    "description": ({}, "other"),
    "seed": ({}, 43),
    "pretrain.keep_features": ({}, True),
    "inspect.max_pixels": ({}, 1_000_000),
    "inspect.max_aspect": ({}, 3),
    "inspect.min_side": ({}, 8),
    "inspect.exif_orientation": ({}, "apply"),
    "inspect.max_turns": ({}, 8),
    "inspect.max_chars": ({}, 4000),
    "model.vision": ({}, "toy-vit-36"),
    "model.connector": ({}, "linear"),
    "model.connector_layers": ({}, 3),
    "model.connector_queries": ({"model.connector": "resampler"}, 7),
    "model.connector_shrink": ({"model.connector": "pixel-shuffle"}, 3),
    "model.connector_norm": ({"model.connector": "pixel-shuffle"}, True),
    "model.language": ({"sft.prompt": "short"}, OTHER_LANGUAGE),
    "model.vision_layer": ({}, -1),
    "model.image_mode": ({}, "pad"),
    "model.tiling.long_side": ({"model.image_mode": "tiles"}, 144),
    "model.tiling.upscale": ({"model.image_mode": "tiles"}, False),
    "model.tiling.like": ({"model.image_mode": "tiles"}, "smolvlm"),
    "model.tiling.min_tiles": ({"model.image_mode": "dynamic"}, 2),
    "model.tiling.max_tiles": ({"model.image_mode": "dynamic"}, 4),
    "model.tiling.whole": ({"model.image_mode": "dynamic"}, False),
    "model.tiling.grids": ({"model.image_mode": "anyres"}, [[2, 2]]),
    "model.tiling.max_patches": ({"model.image_mode": "native"}, 64),
    "model.tiling.max_record_tiles": ({"model.image_mode": "tiles"}, 4),
    "model.pixels": ({}, "pil"),
    "sft.mix.source": ({}, [{"source": "toy-chat"}, {"source": "toy-captions"}]),
    "sft.mix.share": ({}, [{"source": "toy-chat", "share": 0.5}, {"source": "toy-places"}]),
    "sft.mix.cap": ({}, [{"source": "toy-chat", "cap": 9}, {"source": "toy-places"}]),
    "sft.mix.components": ({}, [{"source": "toy-chat", "components": {"a": 0.5}}, {"source": "toy-places"}]),
    "sft.mix.filters": ({}, [{"source": "toy-chat", "filters": ["num_turns > 2"]}, {"source": "toy-places"}]),
    "sft.mix.one_question_per_record": (
        {},
        [{"source": "toy-chat", "one_question_per_record": True}, {"source": "toy-places"}],
    ),
    "sft.mix.choose.records": (
        {"sft.mix": [{"source": "finevision/chartqa", "choose": 9}]},
        [{"source": "finevision/chartqa", "choose": 10}],
    ),
    "sft.mix.choose.filters": (
        {"sft.mix": [{"source": "finevision/chartqa", "choose": 9}]},
        [{"source": "finevision/chartqa", "choose": {"records": 9, "filters": ["num_turns > 2"]}}],
    ),
    "sft.mix.scores": (
        {"sft.mix": [{"source": "toy-chat", "filters": ["a > 2"]}, {"source": "toy-places"}]},
        [{"source": "toy-chat", "filters": ["a > 2"], "scores": __file__}, {"source": "toy-places"}],
    ),
    "sft.duplicates.exact": ({}, "drop"),
    "sft.duplicates.near": ({}, "report"),
    "sft.duplicates.max_distance": ({"sft.duplicates.near": "report"}, 4),
    "sft.duplicates.within": ({}, "source"),
    "sft.contamination.action": ({}, "drop"),
    "sft.contamination.against": ({}, ["toy-pope"]),
    "sft.contamination.max_distance": ({}, 4),
    "sft.contamination.ids": ({}, False),
    "sft.contamination.vg_image_data": ({}, __file__),
    "sft.prompt": ({}, "plain"),
    "sft.writing.image_place": ({}, "as_written"),
    "sft.writing.lone_space": ({}, "given"),
    "sft.image_mode": ({}, "pad"),
    "sft.max_length": ({}, 300),
    "sft.pack_length": ({}, 1024),
    "sft.global_batch": ({}, 4),
    "sft.epochs": ({}, 2),
    "sft.group_by": ({}, "modality"),
    "sft.order": ({}, 1),
    "sft.sort_by.scores": ({}, SCORES),
    "sft.sort_by.column": ({"sft.sort_by.scores": SCORES}, "length"),
    "sft.sort_by.first": ({"sft.sort_by.scores": SCORES}, "high"),
    "sft.sort_by.parts": ({"sft.sort_by.scores": SCORES}, 10),
    "sft.void": ({}, str(PAGE)),  # a file of lines: ids, as far as anything asks here
    "sft.held_out": ({}, 10),
    "sft.held_out_every": ({}, 10),
    "sft.lr": ({}, 1e-4),
    "sft.schedule": ({}, "linear"),
    "sft.decay_fraction": ({"sft.schedule": "wsd", "sft.decay_fraction": 0.1}, 0.2),
    "sft.average.count": ({"sft.average.every": 5, "sft.average.count": 2}, 3),
    "sft.average.every": ({"sft.average.every": 5, "sft.average.count": 2}, 6),
    "sft.warmup_fraction": ({}, 0.1),
    "sft.final_lr_fraction": ({}, 0.1),
    "sft.weight_decay": ({}, 0.1),
    "sft.betas": ({}, [0.9, 0.95]),
    "sft.max_grad_norm": ({}, 0.5),
    "sft.precision": ({}, "bf16"),
    "sft.gradients_in": ({}, "bf16"),
    "sft.gradient_checkpointing": ({}, True),
    "sft.keep_gradients": ({}, True),
    "sft.save_every": ({}, 7),
    "sft.save_minutes": ({}, 5),
    "sft.data_workers": ({}, 0),
    "sft.max_lost_fraction": ({}, 0.2),
    "sft.vision.trainable_from_layer": ({}, 2),
    "sft.vision.lr": ({"sft.vision.trainable_from_layer": 2}, 1e-6),
    "sft.vision.weight_decay": ({"sft.vision.trainable_from_layer": 2}, 0.1),
    "sft.vision.warmup_fraction": ({"sft.vision.trainable_from_layer": 2}, 0.1),
    "sft.connector.trainable_from_layer": ({}, None),
    "sft.connector.lr": ({}, 1e-6),
    "sft.connector.weight_decay": ({}, 0.1),
    "sft.connector.warmup_fraction": ({}, 0.1),
    "sft.language.trainable_from_layer": ({}, 2),
    "sft.language.lr": ({}, 1e-6),
    "sft.language.weight_decay": ({}, 0.1),
    "sft.language.warmup_fraction": ({}, 0.1),
    "sft.language.lora.rank": ({"sft.language.lora": {}}, 4),
    "sft.language.lora.alpha": ({"sft.language.lora": {}}, 4),
    "sft.language.lora.dropout": ({"sft.language.lora": {}}, 0.5),
    "sft.language.lora.quantize": ({"sft.language.lora": {}}, "nf4"),
    "evaluate.benchmarks": ({"evaluate.benchmarks": ["toy-pope"]}, ["toy-pope", "toy-vqa"]),
    "evaluate.blind": ({"evaluate.blind": False}, True),
    "evaluate.robustness": ({}, ["blur-3"]),
    "evaluate.batch_size": ({}, 3),
    "evaluate.precision": ({}, "bf16"),
    "export": ({"export": None}, "hf-llava"),
    "shard.records_per_shard": ({}, 100),
    "shard.size_bytes": ({}, 1000),
    "shard.max_side": ({}, 512),
    "shard.pictures_once": ({}, True),
    "shard.store": ({}, "s3://bucket/folder"),
    "data.local": ({}, {"toy-chat": __file__}),
    "launch.launcher": ({}, "torchrun"),
    "launch.processes": ({"launch.launcher": "torchrun"}, 2),
    "launch.nodes": ({"launch.launcher": "torchrun"}, 2, {"launch.rendezvous": "host:1"}),
    "launch.srun": ({"launch.launcher": "torchrun", "launch.nodes": 2, "launch.rendezvous": "host:1"}, True),
    "launch.rendezvous": ({"launch.launcher": "torchrun", "launch.nodes": 2, "launch.srun": True}, "host:1"),
    "launch.hostfile": ({"launch.launcher": "deepspeed", "launch.hostfile": "a", "launch.nodes": 2}, "b"),
    "launch.device": ({}, "cpu"),
    "launch.fsdp": ({"launch.launcher": "torchrun"}, "keep"),
    "launch.deterministic": ({}, True),
    "launch.zero_stage": ({"launch.launcher": "deepspeed"}, 2),
    "launch.data_processes": ({}, 1),
    "launch.data_runner": ({}, "dask"),
    "launch.data_address": ({"launch.data_runner": "dask"}, "tcp://host:1"),
    "launch.offload": ({"launch.launcher": "deepspeed", "launch.zero_stage": 2}, "optimizer"),
    "launch.compile": ({}, True),
    "launch.timeout_s": ({}, 60),
    "watch.loggers": ({}, ["wandb"]),
    "watch.step_timeout_s": ({}, 60),
    "watch.spike_deviations": ({}, 3),
    "watch.stop_on_spike": ({}, True),
    "watch.openlineage": ({}, "events.jsonl"),
}


def invented(stage: str, name: str) -> dict[str, Any]:
    """A result of the right shape: nothing was done."""
    kind = RESULTS[tasks.record.table_of(stage)]
    values: dict[str, Any] = {"int": 0, "float": 0.0, "bool": False}
    made = {field.name: values.get(str(field.type), "") for field in dataclasses.fields(kind)}
    if stage == "download":
        made |= {"source": name, "annotations": "annotations.json", "image_root": "images", "num_expected": None}
    if stage == "inspect":
        made |= {"num_records": 1, "num_good": 1}
    if stage == "evaluate":
        benchmark, _, condition = name.partition(" ")
        kind, _, severity = condition.partition("-")
        how = {"corruption": kind, "severity": int(severity)} if severity else {"corruption": None, "severity": None}
        made |= {"benchmark": benchmark, "blind": condition == "blind", **how}
    return made


class Told:
    """Tells the story without doing anything: what each stage's fingerprint would be."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.found = workspace, {}

    def record(self, run: Run, stage: str, name: str, version: int, spec: Any, inputs: Mapping[str, Artifact], make: Any, **_: Any) -> Artifact:  # fmt: skip
        """Stand for tasks.record.record."""
        spec = canonical(tasks.record.spec_of(stage, spec))
        of = fingerprint(stage, version, spec, inputs)
        folder = self.workspace / "artifacts" / stage / of
        folder.mkdir(parents=True, exist_ok=True)
        named = {key: artifact.fingerprint for key, artifact in inputs.items()}
        told = {"spec": spec, "inputs": named, "result": invented(stage, name)}
        (folder / "result.json").write_text(json.dumps(told))
        (folder / "parts.jsonl").write_text("")
        self.found[stage, name] = of
        return Artifact(stage=stage, fingerprint=of, folder=folder)

    @contextlib.contextmanager
    def begin(self, recipe: Recipe, *_: Any) -> Iterator[Run]:
        """Stand for tasks.run.begin."""
        yield Run(run_id="run-1", workspace=self.workspace, recipe=recipe)


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Give a function: overrides -> the fingerprint of every stage of the toy recipe under them."""
    told = Told(tmp_path)
    rooms = ["flows.full_pipeline", "flows.data", "flows.evaluation"]
    for module in map(importlib.import_module, rooms):
        for name, thing in list(vars(module).items()):
            if isinstance(thing, Task):
                stage = importlib.import_module(thing.fn.__module__)
                monkeypatch.setattr(module, name, thing.fn)
                monkeypatch.setattr(stage, "record", told.record)
    for name, stands in (("gather", lambda *_: None), ("score_rows", lambda _: [])):
        monkeypatch.setattr(f"tasks.report.{name}", stands)
    monkeypatch.setattr("flows.evaluation.answer", lambda *_: {})
    monkeypatch.setattr("flows.evaluation.check_scored", lambda *_: None)  # reads what a download made
    monkeypatch.setattr(story, "begin", told.begin)

    known: dict[str, dict[tuple[str, str], str]] = {}

    def fingerprints(**overrides: Any) -> dict[tuple[str, str], str]:
        key = json.dumps(overrides)
        if key not in known:
            told.found = {}
            story.full_pipeline.fn("toy", overrides, str(tmp_path))
            known[key] = told.found
        return known[key]

    return fingerprints


def remade(tell: Any, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Name the stages that would be made anew, in the story's order."""
    old, new = set(tell(**before).items()), set(tell(**after).items())
    changed = {stage for (stage, _), _ in new - old}
    return [stage for stage in STAGES if stage in changed]


def by_field(tell: Any) -> dict[str, list[str]]:
    """Name what each field remakes."""
    found = {}
    for field, (beside, value, *more) in CHANGED.items():
        key = "sft.mix" if field.startswith("sft.mix.") else field
        before = dict(beside.items())
        found[field] = remade(tell, before, {**before, **(more[0] if more else {}), key: value})
    return found


def table(found: Mapping[str, list[str]]) -> str:
    """Write the table as it stands in docs: fields that remake the same, together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for field, stages in found.items():
        groups.setdefault(tuple(stages), []).append(field)
    lines = ["| change | remakes |", "|---|---|"]
    for stages, fields in sorted(groups.items(), key=lambda item: (len(item[0]), STAGES.index(item[0][0]))):
        lines.append(f"| {', '.join(f'`{field}`' for field in fields)} | {', '.join(stages)} |")
    return "\n".join(lines) + "\n"


def test_every_field_of_a_recipe_is_looked_at() -> None:
    fields = all_fields()
    leaves = {field for field in fields if not any(other.startswith(f"{field}.") for other in fields)}
    looked_at = {field for field in leaves if not field.startswith(("pretrain.", "second_pretrain."))}
    # pretrain's alone; as data.local, for manifests with a tree; the stages themselves, and what is in their place
    elsewhere = {"sft.keep_features", "data.root", "start"}
    assert looked_at - elsewhere == CHANGED.keys() - {"pretrain.keep_features"}


def test_the_libraries_that_compute_stand_in_the_docs() -> None:
    stages: dict[tuple[str, ...], list[str]] = {}
    for stage, libraries in tasks.record.COMPUTED_WITH.items():
        stages.setdefault(libraries, []).append(stage)
    for libraries, names in stages.items():
        assert f"| {', '.join(names)} | {', '.join(libraries)} |\n" in PAGE.read_text(encoding="utf-8")


def test_another_minor_of_a_library_remakes_what_it_computes_and_a_patch_nothing(
    tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenizers count the plan's tokens; both plans and what follows them are made anew, nothing before them."""
    installed, found = tasks.record.installed, []
    for number in ("9.3.1", "9.3.2", "9.4.0"):
        there = {"tokenizers": number}
        monkeypatch.setattr(tasks.record, "installed", lambda name, there=there: there.get(name) or installed(name))
        found.append(tell(**{"description": number}))
    patch, release = ({stage for (stage, _), _ in set(new.items()) - set(found[0].items())} for new in found[1:])
    assert patch == {"report"}  # which shows the description
    assert release == {"plan", "pretrain", "sft", "evaluate", "export", "report"}


def test_a_judges_model_is_part_of_a_judged_score_alone(tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = {"evaluate.benchmarks": ["mm-vet", "toy-pope"], "evaluate.blind": False}
    monkeypatch.setenv("TINYLLAVA_JUDGE_MODEL", "gpt-a")
    before = tell(**judged)
    monkeypatch.setenv("TINYLLAVA_JUDGE_MODEL", "gpt-b")
    after = tell(**judged, description="again")
    assert set(after.items()) - set(before.items()) == {
        (key, after[key]) for key in (("evaluate", "mm-vet"), ("report", ""))
    }


def test_what_each_field_remakes_stands_in_the_docs(tell: Any) -> None:
    assert table(by_field(tell)) in PAGE.read_text(encoding="utf-8")
