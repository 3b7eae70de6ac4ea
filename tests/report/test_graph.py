"""The graph of stages: columns, orders, lines."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from made_up_run import MadeUp

from tinyllava_core.report.facts import StageRow, stage_rows
from tinyllava_core.report.graph import arrange, crossings, draw_graph, in_branches, layers, reduced, seconds

CHAIN = [("a", "b"), ("b", "c")]


def test_a_stage_stands_as_far_right_as_what_needs_it_allows():
    """x is needed by c alone, so it stands beside b; y is needed by nobody."""
    assert layers(["a", "b", "c", "x", "y"], [*CHAIN, ("x", "c")]) == [["a"], ["b", "x"], ["c", "y"]]


def test_an_edge_that_a_longer_way_makes_too_is_left_out():
    assert reduced([*CHAIN, ("a", "c")]) == CHAIN


def test_crossings_are_counted_and_taken_away():
    crossed = [["a", "b"], ["x", "y"]]
    edges = [("a", "y"), ("b", "x")]
    assert crossings(crossed, edges) == 1
    assert crossings(arrange(crossed, edges), edges) == 0


def test_branches_stand_together():
    assert in_branches(["a", "x", "b", "y", "end"], [("a", "b"), ("x", "y"), ("b", "end"), ("y", "end")]) == [
        "a",
        "b",
        "x",
        "y",
        "end",
    ]


def test_the_two_training_chains_of_a_run_do_not_cross(run: MadeUp):
    """What crosses is the end alone: four evaluations need sft and their benchmark, and export needs sft."""
    rows = stage_rows(run.facts())
    kinds = {row.fingerprint: row.stage for row in rows}
    edges = reduced([(of, row.fingerprint) for row in rows for of in row.inputs])
    columns = arrange(layers(in_branches(list(kinds), edges), edges), edges)
    before_sft = [(of, to) for of, to in edges if kinds[to] not in ("evaluate", "export")]
    assert crossings(columns, before_sft) == 0
    assert [sorted({kinds[node] for node in column}) for column in columns[-2:]] == [
        ["download", "sft"],
        ["evaluate", "export"],
    ]


def test_the_graph_is_svg_with_a_box_per_stage_made_or_cached(run: MadeUp):
    rows = stage_rows(run.facts())
    drawn = ElementTree.fromstring(draw_graph(rows))
    assert [group.get("class") for group in drawn.iter("g")] == ["node made"] * len(rows)
    cached = StageRow(
        stage="mix", name="<sft>", fingerprint="f", made=False, seconds=1.0, size_bytes=1, inputs=("gone",)
    )
    (box,) = ElementTree.fromstring(draw_graph([cached])).iter("g")
    assert box.get("class") == "node cached"
    assert [text.text for text in box.iter("text")] == ["mix", "✓", "<sft>"]


def test_durations_are_written_in_their_own_unit():
    assert [seconds(value) for value in (0.31, 48.2, 600, 9000)] == ["0.3 s", "48 s", "10 min", "2.5 h"]
