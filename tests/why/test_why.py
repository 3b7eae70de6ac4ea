"""Scores of a store, how far they agree with retraining, and what is said of one answer: by hand, on a store of a few numbers."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tinyllava_core.artifact import Artifact
from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.query import ask
from tinyllava_core.lineage.tables import connect
from tinyllava_core.why import checking, ends, scores, truth
from tinyllava_core.why.said import sentences, why

RECORDS = {"a": (2.0, 0.0), "b": (0.0, 1.0), "c": (-4.0, 0.0), "d": (1.0, 1.0)}


def write(path: Path, columns: dict[str, list], rows: list[tuple[float, ...]]) -> Path:
    """Write rows as a store holds them: int8 with one scale each."""
    exact = np.array(rows, np.float32)
    scale = np.abs(exact).max(1) / 127
    small = np.round(exact / scale[:, None]).astype(np.int8)
    table = pa.table(columns).append_column("head_scale", pa.array(scale))
    cells = pa.array([row.tobytes() for row in small], pa.binary(small.shape[1]))
    pq.write_table(table.append_column("head", cells), path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Artifact:
    """One answer whose gradient is (1, 0), and four records of two sources."""
    home = tmp_path / "artifacts" / "attribute" / "ab12"
    home.mkdir(parents=True)
    told = {"record_id": list(RECORDS), "source": ["x", "x", "y", "y"]}
    write(home / "records-00000000.parquet", told, list(RECORDS.values()))
    told = {
        "benchmark": ["pope"],
        "question_id": ["7"],
        "text": ["Is it?"],
        "answer": ["yes"],
        "was_right": [True],
        "loss": [0.5],
    }
    write(home / "questions.parquet", told, [(1.0, 0.0)])
    np.save(home / "kernel.npy", np.eye(2, dtype=np.float32))
    pq.write_table(tails(Artifact(stage="attribute", fingerprint="ab12", folder=home)), home / "attributions.parquet")
    (home / "result.json").write_text(json.dumps({"inputs": {"checkpoint": "cafe"}}))
    return Artifact(stage="attribute", fingerprint="ab12", folder=home)


def spearman(left: list[float], right: list[float]) -> float:
    """Correlate ranks, written out: a rank is how many are smaller, and half of the others that are equal."""

    def rank(values: list[float]) -> list[float]:
        return [sum(one < mine for one in values) + (values.count(mine) - 1) / 2 for mine in values]

    return statistics.correlation(rank(left), rank(right))


def tails(store: Artifact) -> pa.Table:
    asked, eye = pq.read_table(store.folder / "questions.parquet"), np.eye(2, dtype=np.float32)
    return ends.tails(found(store, eye), asked, eye, scores.files(store.folder), count=2)


def found(store: Artifact, kernel: np.ndarray) -> scores.Scores:
    asked = pq.read_table(store.folder / "questions.parquet")
    return scores.all_scores(scores.files(store.folder), asked, kernel)


def test_the_kernel_is_the_inverse_of_the_gram_matrix_with_a_damped_diagonal(store: Artifact) -> None:
    """G'G = [[4 + 16 + 1, 1], [1, 1 + 1]]: trace 23, two eigenvalues, so a damping of 2 adds 2 x 11.5."""
    kernel = scores.kernel_of(scores.files(store.folder), 2.0)
    np.testing.assert_allclose(kernel, np.linalg.inv([[21 + 23, 1], [1, 2 + 23]]), rtol=1e-2)


def test_a_cosine_ranks_and_a_kernel_sums(store: Artifact) -> None:
    one = found(store, np.eye(2, dtype=np.float32))
    np.testing.assert_allclose(one.cosine_QN[0], [1, 0, -1, 2**-0.5], atol=0.01)
    np.testing.assert_allclose(one.kernel_QN[0], [2, 0, -4, 1], atol=0.05)
    told = pq.read_table(store.folder / "questions.parquet")
    table = tails(store).to_pylist()
    assert [(row["rank"], row["record_id"]) for row in table] == [(1, "a"), (2, "d"), (-1, "c"), (-2, "b")]
    groups = {row["source"]: row for row in scores.groups(one, told).to_pylist()}
    assert {name: (row["num_records"], round(row["kernel_sum"], 1)) for name, row in groups.items()} == {
        "x": (2, 2.0),
        "y": (2, -3.0),
    }
    assert "cosine" not in scores.groups(one, told).column_names


def test_a_record_of_two_epochs_has_one_rank(store: Artifact) -> None:
    table = pq.read_table(store.folder / "records-00000000.parquet")
    pq.write_table(table, store.folder / "records-00000004.parquet")
    ranked = tails(store)["record_id"].to_pylist()
    assert ranked == ["a", "d", "c", "b"]


def test_the_ends_of_a_ranking_are_those_of_a_whole_sort_with_equal_scores_and_records_twice() -> None:
    chance = np.random.default_rng(3)
    for _ in range(50):
        ids = [f"r{number}" for number in chance.integers(0, 12, 20)]
        score = chance.integers(0, 6, 20).astype(np.float32)
        ranked: list[int] = []  # rows, the highest of each record, equal ones in the plan's order
        for row in sorted(range(20), key=lambda row: (-score[row], row)):
            if ids[row] not in [ids[other] for other in ranked]:
                ranked.append(row)
        count = min(4, len(ranked) // 2)
        wanted = [(n, ranked[n - 1]) for n in range(1, count + 1)] + [(-n, ranked[-n]) for n in range(1, count + 1)]
        of = ends.Records.of(pa.chunked_array([ids]))
        near = of.near_ends(score, 2)
        rank, at = of.ends(near, score[near], 2)
        assert list(zip(rank.tolist(), near[at].tolist(), strict=True)) == [one for one in wanted if abs(one[0]) <= 2]


def test_agreement_is_spearmans_correlation_with_the_mean_over_the_orders() -> None:
    chance = np.random.default_rng(0)
    score_QN, kept_MN = chance.normal(size=(3, 20)), chance.random((8, 20)) < 0.5
    outcome_MOQ = chance.normal(size=(8, 2, 3)).round(1)  # with ties
    mine = truth.agreement(score_QN, kept_MN, outcome_MOQ)
    for question in range(3):
        sums = [score_QN[question][kept].sum() for kept in kept_MN]
        wanted = spearman(sums, outcome_MOQ[:, :, question].mean(1).tolist())
        assert mine[question] == pytest.approx(wanted, abs=1e-6)


def test_what_is_attainable_comes_from_how_well_the_orders_agree() -> None:
    """r = 0.11 between two orders: a perfect method reaches 0.33 against one, 0.52 against the mean of three."""
    same = np.repeat(np.arange(6.0)[:, None, None], 2, axis=1)
    assert truth.attainable(same) == pytest.approx(1)
    assert np.isnan(truth.attainable(same[:, :1]))
    opposite = np.stack([same[:, 0], -same[:, 0]], axis=1)
    assert truth.attainable(opposite) == 0
    # 10 halves; ranks 0..9 against a permutation with r = 0.6
    other = np.array([4, 0, 2, 1, 3, 8, 5, 9, 6, 7], float)
    r = spearman(list(range(10)), other.tolist())
    table = np.stack([np.arange(10.0), other], 1)[:, :, None]
    assert truth.attainable(table) == pytest.approx(np.sqrt(2 * r / (1 + r)))


def test_without_a_check_it_says_unchecked_and_with_one_what_was_found(store: Artifact) -> None:
    bare = why(store, [], "pope", "7", 5)
    assert [one.startswith(("unchecked", "this answer: unchecked")) for one in bare.checked] == [True, True]
    halves = [
        {"what": "halves", "method": method, "agreement": value, "attainable": 0.51, "num_subsets": 16, "num_orders": 3}
        for method, value in (("score", 0.32), ("same answer", 0.22), ("random", -0.01))
    ]
    removal = [
        {
            "what": "removal",
            "benchmark": "pope",
            "question_id": "7",
            "in_order": order,
            "given_before": order < 2,
            "num_removed": 60,
        }
        | {"method": method, "num_subsets": sets, "flips": flips, "change": change}
        for order in range(3)
        for method, sets, flips, change in (("score", 1, int(order == 0), -1.58), ("random", 5, 0, -0.03))
    ]
    told = sentences([*halves, *removal], "pope", "7", "cafe")
    assert (
        told[0]
        == "agreement with retraining 0.32 of 0.51 attainable (16 halves x 3 orders); same answer 0.22, random -0.01"
    )
    assert told[1].startswith(
        "order 0: without the first 60 records the answer is not given any more (log-probability -1.58)"
    )
    assert told[1].endswith("without as many random ones it goes in 0 of 5 (-0.03)")
    assert "is still given" in told[2]
    assert "nothing to flip" in told[3]
    assert sentences([*halves, *removal], "pope", "8", "cafe")[1].startswith("this answer: unchecked")


def test_a_question_that_is_not_there_is_one_line(store: Artifact) -> None:
    with pytest.raises(BadInput, match="benchmark 'pop': the store has answers to pope; nearest: 'pope'"):
        why(store, [], "pop", "7", 5)
    with pytest.raises(BadInput, match="question '8': pope has none of that id"):
        why(store, [], "pope", "8", 5)


def test_more_records_than_a_store_keeps_are_ranked_again(store: Artifact) -> None:
    first = pq.read_table(store.folder / "attributions.parquet").filter(pc.field("rank") == 1)
    pq.write_table(first, store.folder / "attributions.parquet")
    assert checking.first_records(store.folder, "pope", "7", 1) == {"a"}
    assert checking.first_records(store.folder, "pope", "7", 2) == {"a", "d"}
    with pytest.raises(BadInput, match="--check 3: an answer has 2 records for it, half of all; give at most so many"):
        checking.first_records(store.folder, "pope", "7", 3)


def test_a_removal_counts_flips_of_answers_that_were_given(store: Artifact, tmp_path: Path) -> None:
    def outcome(name: str, loss: float, greedy: bool) -> Path:
        (home := tmp_path / name).mkdir()
        told = {"benchmark": ["pope"], "question_id": ["7"], "answer": ["yes"], "loss": [loss], "greedy": [greedy]}
        pq.write_table(pa.table(told), home / "outcomes.parquet")
        return home

    whole, gone = outcome("whole", 0.5, True), outcome("gone", 2.0, False)
    kept, lost = outcome("kept", 0.4, True), outcome("lost", 0.7, False)
    opened = checking.Store.read(store.folder)
    first, random = checking.removal_rows(opened, [("pope", "7")], [whole], [[gone]], [[kept], [lost]], 60)
    assert (first["method"], first["flips"], first["change"]) == ("score", 1, pytest.approx(-1.5))
    assert (random["method"], random["num_subsets"], random["flips"]) == ("random", 2, 1)
    assert random["change"] == pytest.approx((0.1 - 0.2) / 2)
    assert first["flips_alike"] is None  # the store has no other answer
    never, _ = checking.removal_rows(opened, [("pope", "7")], [lost], [[gone]], [[kept]], 60)
    assert (never["given_before"], never["flips"]) == (False, 0)


def test_how_often_answers_as_sure_as_one_flip_is_counted_over_the_random_sets(
    store: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers 1 and 3 are the two that are given nearest to answer 0; 2 is not given, 4 is far. Of 2 x 2 cases one flips."""
    monkeypatch.setattr(checking, "_ALIKE", 2)

    def outcome(name: str, losses: list[float], greedy: list[bool]) -> Path:
        (home := tmp_path / name).mkdir()
        told = {
            "benchmark": ["pope"] * 5,
            "question_id": list("01234"),
            "answer": ["yes"] * 5,
            "loss": losses,
            "greedy": greedy,
        }
        pq.write_table(pa.table(told), home / "outcomes.parquet")
        return home

    whole = outcome("whole", [0.5, 0.6, 0.5, 0.3, 0.0], [True, True, False, True, True])
    sets = [outcome(f"set-{n}", [1.0] * 5, [True, n == 0, False, True, False]) for n in range(2)]
    opened = checking.Store(folder=store.folder, record_ids=[], questions=pq.read_table(whole / "outcomes.parquet"))
    _, random = checking.removal_rows(opened, [("pope", "0")], [whole], [[sets[0]]], [[one] for one in sets], 60)
    assert random["flips_alike"] == pytest.approx(1 / 4)
    base = {
        "in_order": 0,
        "given_before": True,
        "num_removed": 60,
        "benchmark": "pope",
        "question_id": "0",
        "what": "removal",
    }
    rows = [
        {**base, "method": method, "num_subsets": 2, "flips": 1, "change": 0.0, "flips_alike": 0.25}
        for method in ("score", "random")
    ]
    assert sentences(rows, "pope", "0", "cafe")[1].endswith(
        "in 1 of 2 (+0.00), as 25 % of the answers as sure as this do"
    )


def test_an_answer_is_calm_where_no_order_takes_it_near_the_edge() -> None:
    """Log-probabilities in two orders; one half is at -0.693. As sure as each is the other of its pair."""
    before = np.array([[-0.10, -0.12, -0.30, -0.50, -0.05], [-0.12, -0.10, -0.50, -0.30, -0.05]])
    given = np.array([[True] * 5, [True, True, True, True, False]])
    found = [checking._calm(before, given, at) for at in range(5)]
    # the pairs' deviations are 0.014 and 0.141, over all four 0.100 (root mean square); -0.12 is 0.57 above the edge, -0.5 is 0.193
    assert found == [True, True, False, False, False]
    assert checking._calm(before[:1], given[:1], 0) is None  # one order has no spread
    base = {
        "what": "removal",
        "benchmark": "pope",
        "question_id": "7",
        "in_order": 0,
        "given_before": True,
        "num_removed": 60,
    }
    rows = [{**base, "method": one, "num_subsets": 1, "flips": 1, "change": 0.0} for one in ("score", "random")]
    for calm, count in ((False, 3), (True, 2), (None, 2)):
        told = sentences([row | {"is_calm": calm} for row in rows], "pope", "7", "cafe")
        assert len(told) == count
        assert told[1].startswith("this answer is on the edge") is (calm is False)


def test_the_same_halves_and_sets_are_drawn_each_time(store: Artifact) -> None:
    opened = checking.Store.read(store.folder)
    drawn = checking.draw_halves(opened, 3)
    assert drawn == checking.draw_halves(opened, 3)
    assert [len(gone) for gone in drawn] == [2, 2, 2]
    assert checking.draw_halves(opened, 5)[:3] == drawn  # more halves only add
    assert all(len(gone) == 2 for gone in checking.draw_random(opened, 2, 4))


def test_cosines_are_not_summed() -> None:
    with connect() as connection:
        for sql in ("SELECT sum(cosine) FROM x", "SELECT avg(a.cosine + 1) FROM attributions a"):
            with pytest.raises(BadInput, match=r"cosines cannot be summed.*attributed_groups"):
                ask(connection, sql, {})
        assert ask(connection, "SELECT max(cosine) AS most FROM (SELECT 0.5 AS cosine)", {}).rows == [
            (pytest.approx(0.5),)
        ]
