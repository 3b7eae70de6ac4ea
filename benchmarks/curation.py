"""What filters find of the faults planted in the toy world's source toy-flawed: `python benchmarks/curation.py --workspace WORKSPACE`.

After `tinyllava study toy-curation`, whose first variant was trained on all of it in several orders. It trains nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa

from tinyllava_core.lineage.query import Answer, ask
from tinyllava_core.lineage.store import open_read_only

RECORDS = """
SELECT DISTINCT
    record_id,
    component,
    split_part(original_id, '-', 1) AS kind,
    len(string_split(list_filter(turns, lambda turn: turn.role = 'assistant')[1].text, ' ')) AS num_words
FROM records
WHERE source = 'toy-flawed'
ORDER BY record_id
"""
LOSSES = """
SELECT DISTINCT fingerprint, record_id, loss_sum / num_supervised AS loss
FROM record_losses
JOIN stage USING (fingerprint)
JOIN run USING (run_id)
WHERE run.recipe = 'toy-curation-all' AND stage.stage = 'sft'
"""
COPIES = "SELECT DISTINCT record_id, how FROM duplicates WHERE source = 'toy-flawed'"


def main() -> None:
    """Print one table: a line for each fault and what may find it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    with open_read_only(parser.parse_args().workspace) as connection:
        records, losses, copies = (_table(ask(connection, query, {})) for query in (RECORDS, LOSSES, COPIES))
    if not len(records) or not len(losses):
        raise SystemExit("no training on toy-flawed in this workspace; run one first: tinyllava study toy-curation")
    names, fault = records["record_id"].to_pylist(), np.array(records["component"].to_pylist())
    kind, words = np.array(records["kind"].to_pylist()), records["num_words"].to_numpy()
    is_caption = kind == "caption"
    place = {name: number for number, name in enumerate(names)}
    trained: dict[str, np.ndarray] = {}
    for row in losses.to_pylist():
        trained.setdefault(row["fingerprint"], np.full(len(names), np.nan))[place[row["record_id"]]] = row["loss"]
    loss_TN = np.array(list(trained.values()))
    mean_N = loss_TN.mean(axis=0)
    print("| planted | among | by | AUC | in the first, as many as planted |\n| --- | --- | --- | --- | --- |")
    all_of_them, wrong = np.ones(len(names), bool), np.isin(fault, ("wrong-label", "other-caption"))
    for told, is_planted, among in (
        ("192 wrong labels", fault == "wrong-label", ("questions", ~is_caption)),
        ("48 captions of other pictures", fault == "other-caption", ("captions", is_caption)),
        ("both", wrong, ("all", all_of_them)),
    ):
        where, which = among
        head, planted = f"| {told} | {which.sum():,} {where}", is_planted[which]
        each = [found(loss_N[which], planted) for loss_N in loss_TN]
        low, high = min(each), max(each)
        print(
            f"{head} | loss of one training ({len(each)} orders) | {_span(low[0], high[0])} | {_span(low[1], high[1])} |"
        )
        for by, value_N in (("its mean over the orders", mean_N), ("num_words", words.astype(float))):
            area, first = found(value_N[which], planted)
            tied = len(np.unique(value_N)) < len(value_N)  # which of the equal ones come first is chance
            print(f"{head} | {by} | {area:.2f} | {'' if tied else f'{first:.2f}'} |")
    hardest = np.argsort(-mean_N, kind="stable")[: wrong.sum()]
    print(f"\n| kind | wrong answers planted | in the hardest {wrong.sum()} of all | in the hardest of their kind, as many as planted |\n| --- | --- | --- | --- |")  # fmt: skip
    for one in sorted(set(kind)):
        mine = kind == one
        within = round(found(mean_N[mine], wrong[mine])[1] * (wrong & mine).sum())
        print(f"| {one} | {(wrong & mine).sum()} | {(wrong & mine)[hardest].sum()} | {within} |")
    print("\n| planted | by | named | right of those | found of the planted |\n| --- | --- | --- | --- | --- |")
    for copy, how in (("exact-copy", "exact"), ("near-copy", "near")):
        named = np.isin(names, [row["record_id"] for row in copies.to_pylist() if row["how"] == how])
        right = named & (fault == copy)
        told = f"{(fault == copy).sum()} {copy.removesuffix('-copy')} copies"
        print(f"| {told} | duplicates, {how} | {named.sum()} | {right.sum() / max(1, named.sum()):.2f} | {right.sum() / (fault == copy).sum():.2f} |")  # fmt: skip


def found(value_N: np.ndarray, is_planted_N: np.ndarray) -> tuple[float, float]:
    """Tell how often a planted one has the higher value of two (AUC, ties half), and what part of the first n are, of n planted."""
    planted, other = value_N[is_planted_N], value_N[~is_planted_N]
    area = (planted[:, None] > other).mean() + (planted[:, None] == other).mean() / 2
    first = np.argsort(-value_N, kind="stable")[: len(planted)]
    return float(area), float(is_planted_N[first].mean())


def _table(answer: Answer) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])


def _span(low: float, high: float) -> str:
    return f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
