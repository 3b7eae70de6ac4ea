"""Which data made an answer: the store of a checkpoint, and how far it agrees with retraining."""

from __future__ import annotations

from prefect import flow

from tasks.why.attribute import attribute
from tasks.why.begin_again import begin_again
from tasks.why.check import check_halves, check_removal


@flow(name="attribution", flow_run_name="attribute {checkpoint}", persist_result=False)
def attribution(
    checkpoint: str,
    layers: bool = False,
    halves: int = 0,
    questions: tuple[tuple[str, str], ...] = (),
    size: int = 60,
    orders: int = 1,
    draws: int = 5,
    workspace: str = "workspace",
) -> None:
    """Keep the gradients of a checkpoint's records and answers; check them by retraining, where it is asked for.

    Args:
        checkpoint: `latest`, a run's id, first letters of a fingerprint, or a folder.
        layers: All linear layers of the language model, by a backward pass; else the head, by a forward pass.
        halves: Random halves of the records to train on, each in `orders` orders.
        questions: (benchmark, question) whose first `size` records are left out, and `draws` times as many random ones.
        workspace: The folder of all artifacts.
    """
    with begin_again(checkpoint, workspace) as (run, trained):
        store = attribute(run, trained, layers)
        if halves:
            check_halves(run, trained, store, halves, orders)
        if questions:
            check_removal(run, trained, store, questions, size, orders, draws)
