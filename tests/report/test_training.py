"""Curves of what a training measured, and how a plan fills its packs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_run import MadeUp, lines

from tinyllava_core.report.facts import RunFacts
from tinyllava_core.report.figures import COLOURS, draw_counts, short
from tinyllava_core.report.training import charts, plan_charts, source_losses
from tinyllava_core.results import MixResult, PlanResult, TrainResult


def trained(folder: Path, sources: int) -> TrainResult:
    """Four steps; source n has a loss of n at each, and is in every step but the first; a killed life after step 1."""
    of = {f"source-{n}": float(n) for n in range(sources)}
    common = {"tokens_per_s": 100.0, "data_wait_share": 0.25, "mfu": None, "peak_memory_bytes": 2_000_000_000}
    rows = [
        {"step": step, "loss_by_source": of if step else {}, "lr": {"language": 0.1 * step}, "grad_norm_by_part": {"language": 1.0}}
        for step in range(4)
    ]  # fmt: skip
    lines(folder / "metrics.jsonl", [{**row, **common} for row in rows])
    lines(folder / "lives.jsonl", [{"from_step": 0}, {"from_step": 2}])
    text = dict.fromkeys(("stage", "checkpoint_sha256", "device", "engine", "attention"), "")
    numbers = {name: 0 for name in TrainResult.__dataclass_fields__ if name not in text}
    return TrainResult(**text, **numbers)


def run_of(tmp_path: Path, sources: int) -> RunFacts:
    made = MadeUp(tmp_path)
    made.make("sft", "sft", {}, lambda to: trained(to, sources))
    return made.facts()


def test_every_source_has_its_line_the_worst_first(tmp_path: Path):
    ((stage, drawn),) = charts(run_of(tmp_path, 3))
    by_title = {chart.title: chart for chart in drawn}
    assert stage == "sft"
    assert by_title["loss by source"].legend == (
        (0, "source-2", "2.00"),
        (1, "source-1", "1.00"),
        (2, "source-0", "0.00"),
    )
    drawing = ElementTree.fromstring(by_title["loss by source"].drawing)
    assert len(list(drawing.iter("polyline"))) == 6
    assert "source-2 2.00" in (drawing.get("aria-label") or "")
    assert "went on here" in by_title["tokens a second"].drawing


def test_what_was_not_measured_has_no_figure_and_a_rate_is_drawn_as_it_was_set(tmp_path: Path):
    """One source: its loss is the loss. The learning rate is no noise: 0.3 at the end, not a mean with what was before."""
    ((_, drawn),) = charts(run_of(tmp_path, 1))
    by_title = {chart.title: chart for chart in drawn}
    assert "loss by source" not in by_title
    assert "model FLOP utilisation, percent" not in by_title
    assert by_title["learning rate by part"].legend == ((0, "language", "at most 0.30"),)
    assert 'class="value"' not in by_title["learning rate by part"].drawing
    assert "25.00" in by_title["time spent waiting for data, percent"].drawing
    assert "2.00" in by_title["peak GPU memory, GB"].drawing


def of_losses(tmp_path: Path, *losses: dict[str, float]) -> RunFacts:
    def made(folder: Path) -> TrainResult:
        result = trained(folder, 1)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        told = [{**rows[0], "step": step, "loss_by_source": one, "lr": {"connector": 0.1, "language": 0.1}} for step, one in enumerate(losses)]  # fmt: skip
        lines(folder / "metrics.jsonl", told)
        lines(folder / "held_out.jsonl", [{"step": 9, "loss": 1.0, "loss_by_source": {"a": 2.5}}])
        return result

    run = MadeUp(tmp_path)
    run.make("sft", "sft", {}, made)
    return run.facts()


def test_the_page_says_in_words_on_which_source_the_loss_ends_highest(tmp_path: Path):
    """Of 20 steps the first and the last tenth are two: a has 4, 2, then 0.5 and 0.7; b's 0.2 is one of them alone, c has none."""
    losses = [
        {"a": 4.0, "b": 1.0},
        {"a": 2.0, "b": 1.0},
        *[{"a": 9.0}] * 16,
        {"a": 0.5, "b": 0.2},
        {"a": 0.7, "c": 8.0},
    ]
    ((stage, told, (a, b)),) = source_losses(of_losses(tmp_path, *losses))
    assert (stage, a.source, b.source) == ("sft", "a", "b")
    assert (a.first, a.last, a.held_out) == (3.0, pytest.approx(0.6), 2.5)
    assert a.stderr == pytest.approx(0.1)  # their standard deviation is 0.1414, over the root of two
    assert (b.first, b.last, b.stderr, b.held_out) == (1.0, 0.2, None, None)
    assert (
        told
        == "At the end of sft the loss is highest on a: 0.600, and 0.200 on b; too few steps to say how sure that is."
    )


def test_two_sources_are_told_apart_only_beyond_what_their_steps_vary(tmp_path: Path):
    """Errors of 0.1 each make 0.141 together: 0.2 apart is within two of them, 0.4 is not."""
    for name, b, end in (("near", 0.4, ", which is within what the steps vary."), ("far", 0.2, ".")):
        losses = [*[{"a": 1.0, "b": 1.0}] * 18, {"a": 0.5, "b": b - 0.1}, {"a": 0.7, "b": b + 0.1}]
        ((_, told, _),) = source_losses(of_losses(tmp_path / name, *losses))
        assert told == f"At the end of sft the loss is highest on a: 0.600, and {b:.3f} on b{end}"


def test_parts_of_one_rate_are_one_line(tmp_path: Path):
    ((_, drawn),) = charts(of_losses(tmp_path, {}, {}))
    (rate,) = (one for one in drawn if one.title == "learning rate by part")
    assert rate.legend == ((0, "connector, language", "at most 0.10"),)


def test_a_small_tick_is_written_short():
    assert [short(value) for value in (0, 0.00015, 5e-05, 0.001, 0.25, 20_000)] == [
        "0",
        "1.5e-4",
        "5e-5",
        "0.001",
        "0.25",
        "20k",
    ]


def test_components_have_lines_of_the_records_own_losses(tmp_path: Path):
    """Two components of one source: at each step the mean a token, 6 / 3 = 2 of a; b is in the second step alone, 3 / 1."""
    made = MadeUp(tmp_path)

    def mix(to: Path) -> MixResult:
        told = {"record_id": ["r0", "r1", "r2"], "source": ["s"] * 3, "component": ["a", "a", "b"]}
        pq.write_table(pa.table(told), to / "mix.parquet")
        return MixResult(**dict.fromkeys(MixResult.__dataclass_fields__, 0))

    def sft(to: Path) -> TrainResult:
        told = {
            "step": [0, 0, 1],
            "record_id": ["r0", "r1", "r2"],
            "loss_sum": [1.0, 5.0, 3.0],
            "num_supervised": [1, 2, 1],
        }
        pq.write_table(pa.table(told), to / "record_losses.parquet")
        return trained(to, 1)

    made.make("mix", "sft", {}, mix)
    made.make("sft", "sft", {}, sft)
    ((_, drawn),) = charts(made.facts())
    (chart,) = (one for one in drawn if one.title == "loss by component")
    assert chart.legend == ((0, "b", "3.00"), (1, "a", "2.00"))


def test_of_many_sources_the_worst_are_drawn_and_the_page_says_so(tmp_path: Path):
    ((_, drawn),) = charts(run_of(tmp_path, 11))
    (chart,) = (one for one in drawn if one.title == "loss by source")
    assert [name for _, name, _ in chart.legend] == [f"source-{n}" for n in range(10, 10 - COLOURS, -1)]
    assert chart.note == "The 8 that end highest, of 11."


def test_a_plan_shows_how_long_its_records_and_packs_are(tmp_path: Path):
    """Step 0: packs of 10 + 30 and 20 tokens; step 1: one of 40."""

    def planned(folder: Path) -> PlanResult:
        columns = {"step": [0, 0, 0, 1], "pack": [0, 0, 1, 0], "num_tokens": [10, 30, 20, 40]}
        pq.write_table(pa.table(columns), folder / "plan.parquet")
        return PlanResult(**dict.fromkeys(PlanResult.__dataclass_fields__, 0))

    made = MadeUp(tmp_path)
    made.make("plan", "sft", {}, planned, {"max_length": 64, "pack_length": 48})
    records, packs = plan_charts(made.facts())
    assert records.note == "4; median 25, longest 40 of at most 64"
    assert packs.note == "3; median 40, longest 40 of at most 48"


def test_counts_are_drawn_as_bars_that_say_what_they_count():
    drawing = ElementTree.fromstring(draw_counts("lengths", [0, 10, 20], [1, 3], "tokens"))
    bars = list(drawing.iter("rect"))
    assert [bar.findtext("title") for bar in bars] == ["0 to 10: 1", "10 to 20: 3"]
    assert float(bars[1].get("height") or 0) == 3 * float(bars[0].get("height") or 0)
    assert draw_counts("nothing", [0, 1], [0], "tokens") == ""
