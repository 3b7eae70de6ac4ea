"""The shipped queries on the hand-made workspace: every expected row was counted on paper."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_workspace import (
    AA,
    BLIND,
    CATS,
    MIX,
    SEEN,
    TRAIN,
    jsonl,
    leave_artifact,
    leave_run,
    leave_score,
    leave_use,
    named,
    parquet,
)

from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.query import ask, confine, shipped
from tinyllava_core.lineage.scored import scored
from tinyllava_core.lineage.store import open_read_only, publish

CATS_0, CATS_1, CATS_2, TALK_1 = "cats-00000000", "cats-00000001", "cats-00000002", "talk-00000001"


def rows(workspace: Path, question: str, **values: str) -> list[tuple]:
    with open_read_only(workspace) as connection:
        return ask(connection, question, values).rows


TRAINED = [
    ("pretrain", TRAIN["pretrain"], "cats", 3, 3, 30, 100.0, 100.0),
    ("sft", TRAIN["sft"], "cats", 3, 3, 30, 60.0, 75.0),
    ("sft", TRAIN["sft"], "talk", 2, 1, 10, 40.0, 25.0),
]


def test_what_trained_this_follows_the_newest_sft_back_through_pretrain(made_once: Path):
    assert rows(made_once, "what_trained_this") == TRAINED


@pytest.mark.parametrize(
    "checkpoint", [TRAIN["sft"], "f2", f"/some/where/artifacts/sft/{TRAIN['sft']}/checkpoint", SEEN, BLIND[:4]]
)
def test_what_trained_this_takes_a_fingerprint_a_prefix_a_path_and_anything_made_from_it(
    made_once: Path, checkpoint: str
):
    assert rows(made_once, "what_trained_this", checkpoint=checkpoint) == TRAINED


def test_what_trained_this_of_a_pretrain_checkpoint_is_pretrain_alone(made_once: Path):
    assert rows(made_once, "what_trained_this", checkpoint="f1") == TRAINED[:1]


def test_who_saw_this_image_tells_records_and_steps_of_both_stages(made_once: Path):
    assert rows(made_once, "who_saw_this_image", sha256="aa") == [
        ("pretrain", TRAIN["pretrain"], AA, CATS_0, 1, [0]),
        ("pretrain", TRAIN["pretrain"], AA, CATS_2, 1, [1]),
        ("sft", TRAIN["sft"], AA, CATS_0, 1, [0]),
        ("sft", TRAIN["sft"], AA, CATS_2, 1, [2]),
    ]


def test_who_saw_an_image_that_nobody_saw_is_nobody(made_once: Path):
    assert rows(made_once, "who_saw_this_image", sha256="cc") == []


def test_why_dropped_gives_the_reason_with_an_example(made_once: Path):
    expected = [("inspect", "talk", "no turns", 1, "talk-00000000: conversations is empty")]
    assert rows(made_once, "why_dropped") == expected
    assert rows(made_once, "why_dropped", source="talk", run="run-") == expected
    assert rows(made_once, "why_dropped", source="cats") == []
    with pytest.raises(BadInput, match="run=another: there is no such run in this lineage; the newest: run-1"):
        rows(made_once, "why_dropped", run="another")


def test_mix_shares_sets_what_was_wanted_beside_what_was_planned(made_once: Path):
    """sft: 3 cats and 2 x 1 talk are wanted; tokens 30 : 10, supervised 12 : 2. The path of a manifest counts as its name."""
    assert rows(made_once, "mix_shares") == [
        ("pretrain", "cats", None, 1.0, 100.0, 100.0, 100.0, 100.0, 3),
        ("sft", "cats", None, 1.0, 60.0, 60.0, 75.0, 85.7, 3),
        ("sft", "talk", None, 2.0, 40.0, 40.0, 25.0, 14.3, 2),
    ]


LEFT_OUT = "record_id source component rule value"


def test_why_left_out_counts_by_rule_with_an_example(workspace: Path):
    left = [
        ("cats-00000003", "cats", "tabby", "num_turns < 2", "num_turns = 4"),
        ("cats-00000004", "cats", "tabby", "num_turns < 2", "num_turns = 6"),
        ("cats-00000005", "cats", None, "share", "0.5"),
    ]
    parquet(workspace, "mix", MIX["sft"], "left_out", named(LEFT_OUT, *left))
    expected = [
        ("sft", "cats", "tabby", "num_turns < 2", 2, "cats-00000003: num_turns = 4"),
        ("sft", "cats", None, "share", 1, "cats-00000005: 0.5"),
    ]
    assert rows(workspace, "why_left_out") == expected
    assert rows(workspace, "why_left_out", stage="pretrain") == []


def test_contamination_counts_pictures_and_records_by_the_way_they_were_found(workspace: Path):
    columns = "record_id source image benchmark benchmark_image how distance dropped"
    found = [
        (CATS_0, "cats", "0.png", "pope", "a.png", "looks", 3, False),
        (CATS_2, "cats", "2.png", "pope", "a.png", "looks", 8, False),
        (CATS_1, "cats", "1.png", "pope", "b.png", "bytes", 0, False),
    ]
    parquet(workspace, "mix", MIX["sft"], "contamination", named(columns, *found))
    by_bytes = ("sft", "pope", "bytes", 1, 1, 0, 0, 0, f"b.png = {CATS_1} 1.png")
    by_looks = ("sft", "pope", "looks", 1, 2, 0, 3, 8, f"a.png = {CATS_0} 0.png")
    assert rows(workspace, "contamination") == [by_bytes, by_looks]
    near = ("sft", "pope", "looks", 1, 1, 0, 3, 3, f"a.png = {CATS_0} 0.png")
    assert rows(workspace, "contamination", max_distance="5") == [by_bytes, near]
    with pytest.raises(BadInput, match="run=another: there is no such run"):
        rows(workspace, "contamination", run="another")


def test_mix_shares_tells_components_apart(workspace: Path):
    """Of six tabby cats, two were filtered away and the share of the others is a half: two of the mix's three records."""
    columns = "position record_id source component repeat num_images"
    ids = [f"cats-{n:08d}" for n in range(6)]
    mixed = [(n, ids[n], "cats", "tabby" if n < 2 else None, 0, 1) for n in range(3)]
    parquet(workspace, "mix", MIX["pretrain"], "mix", named(columns, *mixed))
    left = [(ids[3], "cats", "tabby", "share", "0.5"), (ids[4], "cats", "tabby", "share", "0.5")]
    left += [(ids[5], "cats", "tabby", "num_turns < 2", "num_turns = 4")]
    parquet(workspace, "mix", MIX["pretrain"], "left_out", named(LEFT_OUT, *left))
    entry = {"source": "cats", "share": 1.0, "cap": None, "components": {"tabby": {"share": 0.5, "cap": None}}}
    leave_artifact(workspace, MIX["pretrain"], "mix", {"cats": CATS}, {"entries": [entry]})
    publish(workspace)
    assert rows(workspace, "mix_shares")[:2] == [
        ("pretrain", "cats", "tabby", 0.5, 66.7, 66.7, 66.7, 66.7, 2),
        ("pretrain", "cats", None, 1.0, 33.3, 33.3, 33.3, 33.3, 1),
    ]


def test_records_at_step_gives_the_packs_and_the_words(made_once: Path):
    words = ("<image>\nWhat is it?", "A cat.")
    assert rows(made_once, "records_at_step", step="1") == [
        ("sft", 0, 0, CATS_1, 10, 4, False, *words),
        ("sft", 0, 1, TALK_1, 5, 1, False, *words),
    ]
    assert rows(made_once, "records_at_step", step="1", checkpoint="f1") == [
        ("pretrain", 0, 0, CATS_2, 10, 4, False, *words)
    ]


def test_compare_runs_shows_what_differs_and_the_scores(workspace: Path):
    """The second run has another seed, another sft learning rate (so another sft and another score), and an export."""
    new_sft, new_seen = "f3" + "0" * 14, "e3" + "0" * 14
    leave_run(workspace, "run-2", "2026-01-02T10:00:00+00:00", seed=43, scores=(new_seen, BLIND))
    leave_score(workspace, new_seen, blind=False, score=94.5)
    leave_artifact(workspace, new_sft, "sft", {}, {"lr": 0.002})
    leave_use(workspace, "run-2", "sft", "sft", new_sft)
    leave_use(workspace, "run-2", "export", "", "a1" + "0" * 14)
    leave_artifact(workspace, "a1" + "0" * 14, "export", {}, {"format": "hf-llava"})
    publish(workspace)
    expected = [
        ("run", "run", "run-1", "run-2", None),
        ("run", "seed", "42", "43", None),
        ("stage", "export", None, "there", None),
        ("setting", "sft: lr", "0.0005", "0.002", None),
        ("score", "pope accuracy", "90.0", "94.5", 4.5),
        ("score", "pope blind accuracy", "50.0", "50.0", 0.0),
    ]
    assert rows(workspace, "compare_runs") == expected
    assert rows(workspace, "compare_runs", first="run-1", second="run-2") == expected


def test_every_shipped_query_says_in_one_line_what_it_answers_and_names_its_parameters():
    for query in shipped().values():
        assert query.meaning.endswith((".", "?")), query.name
        assert all(f"${parameter.name}" in query.sql.split("\n\n", 1)[1] for parameter in query.parameters), query.name


def test_the_five_questions_are_shipped():
    assert {"what_trained_this", "who_saw_this_image", "why_dropped", "compare_runs", "mix_shares"} <= shipped().keys()


@pytest.mark.parametrize(
    ("question", "values", "message"),
    [
        ("why_droped", {}, "nearest: 'why_dropped'"),
        ("who_saw_this_image", {}, "needs sha256=...: the image's sha256, or its first digits."),
        ("why_dropped", {"sorce": "x"}, "no parameter 'sorce'; nearest: 'source'"),
        ("records_at_step", {"step": "first"}, "step=first: there is no such step; that training's are 0 to"),
        ("SELECT * FROM recordz", {}, "unknown table 'recordz'; nearest: 'records'"),
        ("SELECT nope FROM run", {}, 'Referenced column "nope" not found'),
        ("SELEC 1", {}, 'syntax error at or near "SELEC" (line 1: SELEC 1)'),
        ("DELETE FROM run", {}, "read-only"),
        ("CREATE TABLE mine (a INTEGER)", {}, "read-only"),
        ("SELECT $a", {}, "Values were not provided"),
    ],
)
def test_a_faulty_question_gets_one_clear_line(made_once: Path, question: str, values: dict[str, str], message: str):
    with pytest.raises(BadInput) as caught:
        rows(made_once, question, **values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_bound_and_never_read_as_sql(made_once: Path):
    with pytest.raises(BadInput, match="source=talk' OR '1'='1: there is no such source"):
        rows(made_once, "why_dropped", source="talk' OR '1'='1")
    assert rows(made_once, "SELECT $word", word="a' b") == [("a' b",)]


def test_clean_scores_leave_out_the_questions_about_pictures_that_any_mix_of_the_checkpoint_has(workspace: Path):
    """Three questions: about a.png (right; pretrain's mix has it), b.png (wrong; dropped from the mix), c.png (right).

    Seen: 2 of 3 right, without a.png 1 of 2. What another benchmark's pictures are does not count.
    """
    asked = [(7, "a.png", 1.0), (8, "b.png", 0.0), (9, "c.png", 1.0)]
    jsonl(workspace, "evaluate", SEEN, "items", named("question_id image score", *asked))
    columns = "record_id source image benchmark benchmark_image how distance dropped"
    found = [
        ("cats-00000000", "cats", "0.png", "pope", "a.png", "bytes", 0, False),
        ("cats-00000002", "cats", "2.png", "pope", "a.png", "looks", 3, False),
        ("cats-00000001", "cats", "1.png", "pope", "b.png", "bytes", 0, True),
        ("cats-00000001", "cats", "1.png", "gqa", "c.png", "bytes", 0, False),
    ]
    parquet(workspace, "mix", MIX["pretrain"], "contamination", named(columns, *found))
    publish(workspace)
    assert rows(workspace, "clean_scores", run="run-1") == [
        ("pope", "seen", "accuracy", 90.0, 3, 1, 66.67, 50.0, -16.67),
        ("pope", "blind", "accuracy", 50.0, 1, 1, 0.0, None, None),
    ]
    assert rows(workspace, "clean_scores") == rows(workspace, "clean_scores", run="run-1")


def test_questions_stand_out_that_all_models_answer_wrongly_or_rightly_without_the_picture(workspace: Path):
    """Three models on three questions: 7 right once, 8 never, 9 always; without pictures 9 alone, by the one that was asked."""
    others = ("e5" + "0" * 14, "e6" + "0" * 14)
    for fingerprint in others:
        leave_artifact(workspace, fingerprint, "evaluate", {"checkpoint": TRAIN["sft"]})
        leave_score(workspace, fingerprint, blind=False, score=50.0)
        leave_use(workspace, "run-1", "evaluate", fingerprint, fingerprint)
    scores = {SEEN: (1.0, 0.0, 1.0), others[0]: (0.0, 0.3, 1.0), others[1]: (0.0, 0.0, 1.0), BLIND: (0.0, 0.0, 1.0)}
    for fingerprint, values in scores.items():
        asked = [(n, f"{n}.png", value) for n, value in zip((7, 8, 9), values, strict=True)]
        jsonl(workspace, "evaluate", fingerprint, "items", named("question_id image score", *asked))
    publish(workspace)
    expected = [
        ("pope", "9", "9.png", 1, "right without the picture"),
        ("pope", "8", "8.png", 3, "wrong by every model"),
    ]
    assert rows(workspace, "stand_out") == rows(workspace, "stand_out", benchmark="pope") == expected
    assert rows(workspace, "stand_out", benchmark="gqa") == []


def test_a_corrupted_score_has_its_condition_and_a_hidden_split_none(workspace: Path):
    blurred, hidden = "e3" + "0" * 14, "e4" + "0" * 14
    for fingerprint, more in (
        (blurred, {"score": 70.0, "corruption": "blur", "severity": 3}),
        (hidden, {"metric": None, "score": None, "submission": "submission.json"}),
    ):
        leave_artifact(workspace, fingerprint, "evaluate", {"checkpoint": TRAIN["sft"]})
        leave_score(workspace, fingerprint, blind=False, **more)
        leave_use(workspace, "run-1", "evaluate", fingerprint, fingerprint)
    publish(workspace)
    assert rows(
        workspace, "SELECT condition, corruption, severity, score, submission FROM score ORDER BY fingerprint"
    ) == [
        ("seen", None, None, 90.0, None),
        ("blind", None, None, 50.0, None),
        ("blur-3", "blur", 3, 70.0, None),
        ("seen", None, None, None, "submission.json"),
    ]
    assert [(row["benchmark"], row["blind"], row["corruption"]) for row, _ in scored(workspace, "run-1")] == [
        ("pope", False, None),
        ("pope", False, "blur"),
        ("pope", True, None),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{out}'",
        "COPY run TO '{workspace}/artifacts/out.csv'",
        "ATTACH '{out}' AS other",
        "CREATE TABLE other AS SELECT 1",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT 1; COPY (SELECT 1) TO '{out}'",
        "PRAGMA enable_profiling",
        "EXPORT DATABASE '{out}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{workspace}/artifacts/out.csv'",  # runs it
        "explain\n(ANALYZE, FORMAT json) COPY (SELECT 1) TO '{workspace}/artifacts/out.csv'",
        "EXPLAIN CREATE TABLE other AS SELECT 1",
        "",
    ],
)
def test_what_a_person_asks_only_reads(workspace: Path, tmp_path: Path, sql: str):
    out = tmp_path / "out"
    with open_read_only(workspace) as connection:
        confine(connection, workspace)
        with pytest.raises(BadInput, match="SQL: the lineage is read-only: expected one statement that reads"):
            ask(connection, sql.format(out=out, workspace=workspace), {})
    assert not out.exists()
    assert not (workspace / "artifacts" / "out.csv").exists()


def test_what_a_person_asks_may_be_explained_and_measured(workspace: Path):
    with open_read_only(workspace) as connection:
        confine(connection, workspace)
        for how in ("EXPLAIN", "EXPLAIN ANALYZE", "explain (FORMAT json)"):
            assert ask(connection, f"{how} SELECT count(*) FROM run", {}).rows
        with pytest.raises(BadInput, match="SQL:"):  # what is not surely a question is none
            ask(connection, f"EXPLAIN /* */ ANALYZE COPY (SELECT 1) TO '{workspace}/artifacts/out.csv'", {})
    assert not (workspace / "artifacts" / "out.csv").exists()


def test_what_a_person_asks_does_not_reach_the_key_to_the_server(workspace: Path):
    (workspace / ".prefect").mkdir()
    (workspace / ".prefect" / "auth").write_text("s3cr3t")
    with open_read_only(workspace) as connection:
        confine(connection, workspace)
        with pytest.raises(BadInput, match="SQL: Permission Error") as told:
            ask(connection, f"SELECT content FROM read_text('{workspace}/.prefect/auth')", {})
        with pytest.raises(BadInput, match="SQL: Permission Error"):
            ask(connection, f"SELECT content FROM read_text('{workspace}/artifacts/../.prefect/auth')", {})
    assert "s3cr3t" not in str(told.value)


def test_what_a_person_asks_reads_no_file_outside_the_workspace(workspace: Path, tmp_path: Path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (tmp_path / "workspace-2").mkdir()
    (tmp_path / "workspace-2" / "secret.csv").write_text("a\n1\n")
    with open_read_only(workspace) as connection:
        confine(connection, workspace)
        for file in (tmp_path / "secret.csv", tmp_path / "workspace-2" / "secret.csv", workspace / ".." / "secret.csv"):
            with pytest.raises(BadInput, match="SQL: Permission Error"):
                ask(connection, f"SELECT * FROM '{file}'", {})
        assert ask(connection, "SELECT count(*) FROM records", {}).rows != [
            (0,)
        ]  # a view over the artifacts' own files
        assert ask(connection, "SHOW TABLES", {}).rows
        assert ask(connection, "FROM run SELECT run_id", {}).rows
        assert ask(connection, "EXPLAIN SELECT 1", {}).rows


def test_a_workspace_with_a_pattern_in_its_path_is_asked_like_any_other(workspace: Path, tmp_path: Path):
    odd = tmp_path / "it's [1] of *"
    shutil.copytree(workspace, odd)
    with open_read_only(odd) as connection:
        confine(connection, odd)
        assert ask(connection, "SELECT count(*) FROM records", {}).rows != [(0,)]


def test_suspects_are_the_hardest_answers_of_each_group_by_their_last_epoch(workspace: Path):
    """cats: 6 / 2 and 1 / 1 a token, and 9 / 3 that was 90 / 3 an epoch before; talk: one answer."""
    columns = "step pack slot turn record_id source loss_sum num_supervised"
    told = [
        (0, 0, 0, 0, CATS_0, "cats", 90.0, 3),
        (0, 0, 1, 0, CATS_1, "cats", 6.0, 2),
        (0, 0, 1, 1, CATS_1, "cats", 1.0, 1),
        (0, 0, 2, 0, TALK_1, "talk", 5.0, 1),
        (1, 0, 0, 0, CATS_0, "cats", 9.0, 3),
    ]
    parquet(workspace, "sft", TRAIN["sft"], "record_losses", named(columns, *told))
    found = rows(workspace, "suspects", top="2")
    assert [row[:6] for row in found] == [
        ("cats", 1, 3, CATS_0, 0, 3.0),
        ("cats", 2, 3, CATS_1, 0, 3.0),
        ("talk", 1, 1, TALK_1, 0, 5.0),
    ]
    assert [row[6] for row in found] == [3.0, 3.0, 5.0]  # the median of its group: of 3, 3 and 1
    assert len(rows(workspace, "suspects", by="component")) == 4
