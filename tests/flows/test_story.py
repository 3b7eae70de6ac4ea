"""The story's order: which stage starts from which, and that nothing trains before all data is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import full_pipeline as story


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the flow asks of its tasks, in order; each task gives its own name."""
    calls: list[tuple[str, ...]] = []

    def task(name: str) -> Any:
        def call(run: Any, *given: Any, **named: Any) -> str:
            words = [word for word in (*given, *named.values()) if isinstance(word, str)]
            calls.append((name, *words))
            return " ".join((name, *words[:1]))

        return call

    for name in (
        "start",
        "gather",
        "fetch_benchmarks",
        "look_at",
        "find_overlaps",
        "train",
        "score",
        "export",
        "report",
    ):
        monkeypatch.setattr(story, name, task(name))
    monkeypatch.setattr(story, "mixes_behind", lambda run, started: {})
    monkeypatch.setattr(story, "fetch_images", lambda run: {})
    monkeypatch.setattr(story, "keep_features", lambda run, stage, data: None)
    monkeypatch.setattr(story, "mix_all", lambda run, *_: dict.fromkeys(run.recipe.stages(), "mix"))
    monkeypatch.setattr(story, "lay_out", lambda run, stage, *_: (calls.append(("lay_out", stage)) or "shards", "plan"))
    return calls


def test_three_stages_are_laid_out_first_and_each_starts_from_the_one_before(
    told: list[tuple[str, ...]], tmp_path: Path
) -> None:
    story.full_pipeline.fn("toy_share", {}, str(tmp_path))
    assert told == [
        ("gather",),
        ("fetch_benchmarks",),
        ("look_at", "fetch_benchmarks"),
        ("find_overlaps", "look_at fetch_benchmarks"),
        ("lay_out", "pretrain"),
        ("lay_out", "second_pretrain"),
        ("lay_out", "sft"),
        ("train", "pretrain", "shards", "plan"),
        ("train", "second_pretrain", "shards", "plan", "train pretrain"),
        ("train", "sft", "shards", "plan", "train second_pretrain"),
        ("score", "train sft", "fetch_benchmarks"),
        ("export", "train sft"),
        ("report", "train sft", "score train sft", "export train sft", "find_overlaps look_at fetch_benchmarks"),
    ]


def test_a_recipe_without_export_has_none(told: list[tuple[str, ...]], tmp_path: Path) -> None:
    story.full_pipeline.fn("toy", {"export": None}, str(tmp_path))
    assert [call[0] for call in told].count("export") == 0
    assert told[-1] == ("report", "train sft", "score train sft", "find_overlaps look_at fetch_benchmarks")


def test_one_stage_alone_starts_from_the_checkpoint_that_the_recipe_names(
    told: list[tuple[str, ...]], tmp_path: Path
) -> None:
    story.full_pipeline.fn("toy", {"pretrain": None, "start": "latest", "export": None}, str(tmp_path))
    assert [call for call in told if call[0] in ("start", "lay_out", "train")] == [
        ("start",),
        ("lay_out", "sft"),
        ("train", "sft", "shards", "plan", "start"),
    ]


def test_without_a_stage_the_checkpoint_is_only_scored(told: list[tuple[str, ...]], tmp_path: Path) -> None:
    overrides = {"pretrain": None, "sft": None, "start": "latest", "export": None}
    story.full_pipeline.fn("toy", overrides, str(tmp_path))
    assert [call[:2] for call in told] == [
        ("start",),
        ("gather",),
        ("fetch_benchmarks",),
        ("look_at", "fetch_benchmarks"),
        ("find_overlaps", "look_at fetch_benchmarks"),
        ("score", "start"),
        ("report", "start"),
    ]
