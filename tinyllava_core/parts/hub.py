"""Which commit of a hub's weights a run takes, where a part's row pins none. It downloads nothing."""

from __future__ import annotations

from pathlib import Path

TIMEOUT_S = 10


def commit_of(weights: str) -> str | None:
    """Give the commit of a hub name: the one that this machine has, else the hub's newest; None if neither can be had.

    What is here already is not replaced in silence: another commit is another input of all that is trained from it.
    """
    from huggingface_hub import HfApi, constants

    ref = Path(constants.HF_HUB_CACHE) / f"models--{weights.replace('/', '--')}" / "refs" / "main"
    if ref.is_file():
        return ref.read_text().strip()
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        return HfApi().model_info(weights, timeout=TIMEOUT_S).sha
    except Exception:  # no network, no such name, no permission: loading it says which
        return None
