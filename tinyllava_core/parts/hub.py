"""What a hub has of a part: which commit is taken, and whether all of it can be had. It downloads no weights.

HF_TOKEN, HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE mean what they mean to the hub's own library.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput

TIMEOUT_S = 10  # that a hub is waited for; it is asked once
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZER = "tokenizer.json"


class Unreached(BadInput):
    """A hub did not answer: what it has is not known. Any other fault is its answer."""

    def __init__(self, weights: str, text: str) -> None:
        super().__init__(text)
        self.weights = weights


def commit_of(weights: str) -> str | None:
    """Give the commit of a hub name: the one that this machine has, else the hub's newest; None if neither can be had.

    What is here already is not replaced in silence: another commit is another input of all that is trained from it.
    """
    from huggingface_hub import HfApi, constants

    if (here := commit_here(weights)) is not None:
        return here
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        return HfApi().model_info(weights, timeout=TIMEOUT_S).sha
    except Exception:  # no network, no such name, no permission: `look_for` says which
        return None


def commit_here(weights: str) -> str | None:
    """Give the commit of a hub name that this machine's cache has as its newest; None: the cache does not know the name."""
    from huggingface_hub import constants

    ref = Path(constants.HF_HUB_CACHE) / f"models--{weights.replace('/', '--')}" / "refs" / "main"
    return ref.read_text().strip() if ref.is_file() else None


def look_for(weights: str, revision: str | None, more: Collection[str] = ()) -> None:
    """Look whether a folder, the hub's cache or the hub has configuration, weights and `more` files of a part.

    Raises BadInput with what to do: what a folder lacks; that a hub's terms must be accepted, that a name is not there, that
    the hub does not answer within TIMEOUT_S.
    """
    folder = Path(weights)
    if folder.is_dir():
        _check(f"the folder {weights}", [file.name for file in folder.iterdir()], more)
        return
    missing = _missing_here(weights, revision, more)
    if not missing:
        return
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise BadInput(
            f"{weights}: HF_HUB_OFFLINE is set, and {constants.HF_HUB_CACHE} has no {missing} of it; unset it, or set "
            "HF_HOME or HF_HUB_CACHE to a cache that has it, or name a folder"
        )
    _check(f"{constants.ENDPOINT}/{weights}", _files_on_hub(weights, revision), more)


def fetched(weights: str, name: str) -> Path:
    """Give one small file of a hub's model, out of the cache or fetched. Raises BadInput if it cannot be had."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    revision = commit_here(weights)
    if isinstance(here := try_to_load_from_cache(weights, name, revision=revision), str):
        return Path(here)
    if constants.HF_HUB_OFFLINE:
        raise BadInput(f"{weights}: HF_HUB_OFFLINE is set, and {constants.HF_HUB_CACHE} has no {name} of it")
    if name not in (names := _files_on_hub(weights, revision)):
        raise BadInput(f"{constants.ENDPOINT}/{weights}: no {name}; found {_some(names)}")
    try:
        return Path(hf_hub_download(weights, name, revision=revision, etag_timeout=TIMEOUT_S))
    except Exception as error:
        raise refused(weights, revision, error.__cause__ or error) from None


def _missing_here(weights: str, revision: str | None, more: Collection[str]) -> str | None:
    """Name the first file that the hub's cache lacks."""
    from huggingface_hub import try_to_load_from_cache

    def here(name: str) -> Path | None:
        found = try_to_load_from_cache(weights, name, revision=revision or commit_here(weights))
        return Path(found) if isinstance(found, str) else None

    for name in ("config.json", *more):
        if here(name) is None:
            return name
    found = next((path for name in WEIGHTS if (path := here(name)) is not None), None)
    if found is None:
        return WEIGHTS[0]
    parts = json.loads(found.read_text())["weight_map"].values() if found.suffix == ".json" else ()
    return next((name for name in dict.fromkeys(parts) if here(name) is None), None)


def _files_on_hub(weights: str, revision: str | None) -> list[str]:
    """List a model's files on the hub, once it is sure that they may be read."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    try:
        info = HfApi().model_info(weights, revision=revision, timeout=TIMEOUT_S)
        if getattr(info, "gated", False):  # everybody may list a gated model's files
            get_hf_file_metadata(hf_hub_url(weights, "config.json", revision=info.sha), timeout=TIMEOUT_S)
    except Exception as error:
        raise refused(weights, revision, error) from None
    return [one.rfilename for one in info.siblings or ()]


def refused(weights: str, revision: str | None, error: BaseException) -> BadInput:
    """Say in one line why a hub's model cannot be had, and what helps."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{weights}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or (
        status == 403 and not isinstance(error, errors.RepositoryNotFoundError)
    ):
        return BadInput(f"{weights}: gated: accept its licence at {page}, then sign in (HF_TOKEN, or `hf auth login`)")
    if isinstance(error, errors.RevisionNotFoundError):
        return BadInput(f"{weights}: the hub has no revision {revision!r} of it; correct it in tinyllava_core/parts")
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return BadInput(f"{weights}: {page} is not there, or private: correct the name, or sign in (HF_TOKEN)")
    if status == 401:
        return BadInput(f"{weights}: the hub takes no such token (HTTP status 401): set HF_TOKEN anew, or unset it")
    said = f"HTTP status {status}" if status else " ".join(f"{type(error).__name__}: {error}".split())[:120]
    return Unreached(
        weights,
        f"{weights}: neither in the hub's cache nor to be had from {constants.ENDPOINT} (asked once, for {TIMEOUT_S} s: {said}); "
        "connect to the hub once, or set HF_HOME to a cache that has it, or name a folder",
    )


def _check(where: str, names: Collection[str], more: Collection[str]) -> None:
    for wanted in ("config.json", *more):
        if wanted not in names:
            told = f"; {hint}" if (hint := _HINTS.get(wanted)) else ""
            raise BadInput(f"{where}: no {wanted}; found {_some(names)}{told}")
    if not any(name in names for name in WEIGHTS):
        raise BadInput(f"{where}: no weights; expected one of {', '.join(WEIGHTS)}; found {_some(names)}")


_HINTS = {
    TOKENIZER: "transformers writes it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
}


def _some(names: Collection[Any]) -> str:
    shown = sorted(map(str, names))
    return ", ".join(shown[:6]) + (", ..." if len(shown) > 6 else "") if shown else "nothing"
