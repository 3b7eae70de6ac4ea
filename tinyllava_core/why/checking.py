"""A store held against retraining: over random halves of the records, and answer by answer without its first records. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.errors import BadInput
from tinyllava_core.why import scores as scored
from tinyllava_core.why.ends import tails
from tinyllava_core.why.truth import agreement, attainable, halves

HALVES, REMOVAL = "halves", "removal"  # the kinds of checks: column `what`
METHODS = ("score", "cosine", "kernel", "same answer", "random")
_SEED = 1
_ALIKE = 50  # answers as sure as one: so many times the random sets say how often such an answer flips
_EDGE = float(np.log(0.5))  # a likelier answer than all others together is given, whatever they are
_SPREADS = 2  # so many of the orders' own must lie between an answer and the edge: measured in docs/why.md, "Removals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What a check reads of a store."""

    folder: Path
    record_ids: list[str]  # of each planned place
    questions: pa.Table

    @classmethod
    def read(cls, folder: Path) -> Store:
        """Open it."""
        ids = [
            name
            for file in scored.files(folder)
            for name in pq.read_table(file, columns=["record_id"])["record_id"].to_pylist()
        ]
        return cls(folder=folder, record_ids=ids, questions=pq.read_table(folder / "questions.parquet"))

    @property
    def distinct(self) -> list[str]:
        """List the records, each once, by name."""
        return sorted(set(self.record_ids))


def draw_halves(store: Store, count: int) -> list[frozenset[str]]:
    """Draw the records that each of `count` random halves leaves out."""
    names = np.array(store.distinct)
    return [frozenset(names[~kept].tolist()) for kept in halves(len(names), count, _SEED)]


def draw_random(store: Store, size: int, count: int) -> list[frozenset[str]]:
    """Draw `count` random sets of `size` records."""
    names, chance = store.distinct, np.random.default_rng(_SEED + 1)
    return [frozenset(chance.choice(names, size, replace=False).tolist()) for _ in range(count)]


def first_records(store: Path, benchmark: str, question_id: str, count: int) -> frozenset[str]:
    """Give the `count` records that pull most for an answer; those beyond what a store keeps are ranked again. Raises BadInput for an unknown question."""
    path = store / "attributions.parquet"
    here = [("benchmark", "=", benchmark), ("question_id", "=", question_id), ("rank", ">", 0), ("rank", "<=", count)]
    rows = pq.read_table(path, columns=["record_id"], filters=here)["record_id"].to_pylist()
    if not rows:
        known = sorted(set(pq.read_table(path, columns=["benchmark"])["benchmark"].to_pylist()))
        raise BadInput(
            f"{benchmark} question {question_id!r}: not in the store, which has answers to {', '.join(known)}"
        )
    if len(rows) < count:
        rows = _ranked(store, benchmark, question_id, count)
    if len(rows) < count:
        raise BadInput(f"--check {count}: an answer has {len(rows)} records for it, half of all; give at most so many")
    return frozenset(rows)


def _ranked(store: Path, benchmark: str, question_id: str, count: int) -> list[str]:
    mine = (pc.field("benchmark") == benchmark) & (pc.field("question_id") == question_id)
    asked, kernel = pq.read_table(store / "questions.parquet", filters=mine), np.load(store / "kernel.npy")
    files = scored.files(store)
    found = tails(scored.all_scores(files, asked, kernel), asked, kernel, files, count)
    return list(found.filter(pc.field("rank") > 0)["record_id"].to_pylist())


def log_probabilities(outcomes: Path, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Read what a training made of the store's answers -> log-probability [Q], given again [Q] bool."""
    table = pq.read_table(outcomes / "outcomes.parquet")
    for name in ("benchmark", "question_id", "answer"):
        if table[name].to_pylist() != store.questions[name].to_pylist():
            raise BadInput(f"{outcomes}: measured other answers than {store.folder} has; remove it, it is made again")
    return -table["loss"].to_numpy(), table["greedy"].to_numpy(zero_copy_only=False)


def halves_rows(
    store: Store, left_out: Sequence[frozenset[str]], outcomes: Sequence[Sequence[Path]], shards: Path
) -> list[dict[str, Any]]:
    """Say how well each method foretells the log-probabilities after training on the halves; outcomes: [halves][orders]."""
    truth_MOQ = np.stack([np.stack([log_probabilities(one, store)[0] for one in row]) for row in outcomes])
    kept_MN = np.array([[name not in gone for name in store.record_ids] for gone in left_out])
    kernel, said = np.load(store.folder / "kernel.npy"), answers_by_record(shards)
    chance = np.random.default_rng(_SEED + 2)
    found: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    first = 0
    for some, one in scored.some_at_once(scored.files(store.folder), store.questions, kernel):
        same = same_answer(some["answer"].to_pylist(), store.record_ids, said)
        tables = (one.score_QN, one.cosine_QN, one.kernel_QN, same, chance.normal(size=same.shape))
        for method, table in zip(METHODS, tables, strict=True):
            found[method].append(agreement(table, kept_MN, truth_MOQ[:, :, first : first + len(some)]))
        first += len(some)
    told = {"what": HALVES, "num_subsets": len(left_out), "num_orders": truth_MOQ.shape[1]}
    ceiling = attainable(truth_MOQ)
    return [
        {**told, "method": method, "agreement": float(np.nanmean(np.concatenate(values))), "attainable": ceiling}
        for method, values in found.items()
    ]


def removal_rows(
    store: Store,
    questions: Sequence[tuple[str, str]],
    whole: Sequence[Path],
    without: Sequence[Sequence[Path]],
    random: Sequence[Sequence[Path]],
    size: int,
) -> list[dict[str, Any]]:
    """Say what became of each answer without its first records, and without as many random ones.

    `whole`: the undisturbed training in each order; `without`: [questions][orders]; `random`: [draws][orders]. A flip: the answer is
    given by the undisturbed training of that order, and not without the records. `flips_alike`: how often random records flip answers as
    sure as this one: an answer on the edge goes whatever is left out. `is_calm`: no order takes the answer near that edge (see _calm).
    """
    keys = list(zip(store.questions["benchmark"].to_pylist(), store.questions["question_id"].to_pylist(), strict=True))
    base = [log_probabilities(one, store) for one in whole]
    drawn = [[log_probabilities(one, store) for one in row] for row in random]
    rows = []
    for question, mine in zip(questions, without, strict=True):
        at = keys.index(question)
        calm = _calm(np.stack([one for one, _ in base]), np.stack([given for _, given in base]), at)
        removed = {"score": [[log_probabilities(one, store) for one in mine]], "random": drawn}
        for method, sets in removed.items():
            for order, (before, given) in enumerate(base):
                alike = _as_sure(before, given, at)
                changes = [float(one[order][0][at] - before[at]) for one in sets]
                flips = [bool(given[at] and not one[order][1][at]) for one in sets]
                rows.append(
                    {
                        "what": REMOVAL,
                        "benchmark": question[0],
                        "question_id": question[1],
                        "method": method,
                        "num_subsets": len(sets),
                        "in_order": order,
                        "num_removed": size,
                        "given_before": bool(given[at]),
                        "flips": sum(flips),
                        "change": sum(changes) / len(changes),
                        "is_calm": calm,
                        "flips_alike": float(np.mean([~one[order][1][alike] for one in drawn])) if len(alike) else None,
                    }
                )
    return rows


def _calm(before_OQ: np.ndarray, given_OQ: np.ndarray, at: int) -> bool | None:
    """Tell whether an answer is right to call given: by every order's undisturbed training, and with a margin that orders do not use up.

    Its lowest log-probability must lie above that of one half by twice the standard deviation over the orders, root mean square over the
    answers that are as sure. None for one order, which has no spread.
    """
    if not given_OQ[:, at].all():
        return False
    if len(before_OQ) == 1:
        return None
    low_Q = before_OQ.min(0)
    alike = _as_sure(low_Q, np.asarray(given_OQ.all(0)), at)
    spread_Q = before_OQ.var(0, ddof=1)
    return bool(low_Q[at] - _EDGE > _SPREADS * np.sqrt(spread_Q[[*alike, at]].mean()))


def _as_sure(before_Q: np.ndarray, given_Q: np.ndarray, at: int) -> np.ndarray:
    """Find the answers that a training gives with the log-probabilities nearest to one's, itself left out -> their places."""
    others = np.flatnonzero(given_Q & (np.arange(len(given_Q)) != at))
    return others[np.argsort(np.abs(before_Q[others] - before_Q[at]), kind="stable")[:_ALIKE]]


def answers_by_record(shards: Path) -> dict[str, set[str]]:
    """Read what each record's supervised turns say, in small letters."""
    reader = ShardReader(shards)
    names = pq.read_table(shards / "index.parquet", columns=["record_id"])["record_id"].to_pylist()
    return {
        name: {turn.text.strip().lower() for turn in reader.turns(row) if turn.role == "assistant" and turn.supervised}
        for row, name in enumerate(names)
    }


def same_answer(answers: Sequence[str], record_ids: Sequence[str], said: dict[str, set[str]]) -> np.ndarray:
    """Mark the records that say an answer: what needs no gradient -> [Q, N] 0 or 1."""
    words = [said.get(name, set()) for name in record_ids]
    return np.array([[answer.strip().lower() in there for there in words] for answer in answers], np.float32)
