"""The process that asks a hub for the list of a data set's files, for one of them, or for parts of some, through `huggingface_hub`.

Started by repo.py as `python -m tinyllava_core.data.download.embedded.hub_files_process ARGUMENTS.json`: what the library
does on the network cannot be interrupted from within. HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE mean what they do there.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.download.embedded.parquet_part import Few, write_part
from tinyllava_core.errors import BadInput

_AT_ONCE = 8  # files of which parts are read: as many as huggingface_hub fetches at once (its max_workers)
TROUBLE = 75  # exit code where another attempt may help (EX_TEMPFAIL)


def main(asked: dict[str, Any]) -> None:
    """Do what ARGUMENTS.json asks for, and leave what came of it in `asked["result"]`."""
    found = _fetch_parts(asked) if "parts" in asked else _fetch(asked) if "name" in asked else _list(asked)
    write_aside(Path(asked["result"]), json.dumps(found))


def _list(asked: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import HfApi, RepoFile, constants, hf_hub_download, snapshot_download

    if constants.HF_HUB_OFFLINE:
        there = snapshot_download(asked["repo"], repo_type="dataset", revision=asked["revision"], local_files_only=True)
        return {"folder": there}
    api = HfApi()
    commit = api.dataset_info(asked["repo"], revision=asked["revision"]).sha
    files = [
        {
            "name": entry.path,
            "size_bytes": entry.size,
            "sha256": entry.lfs.sha256 if entry.lfs else None,
            "git_sha1": entry.blob_id,
        }
        for entry in api.list_repo_tree(asked["repo"], recursive=True, revision=commit, repo_type="dataset")
        if isinstance(entry, RepoFile)
    ]
    card = ""
    if any(file["name"] == "README.md" for file in files):
        path = hf_hub_download(
            asked["repo"], "README.md", repo_type="dataset", revision=commit, local_dir=asked["into"]
        )
        card = Path(path).read_text(encoding="utf-8", errors="replace")
    return {"commit": commit, "files": files, "card": card}


def _fetch(asked: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        asked["repo"], asked["name"], repo_type="dataset", revision=asked["revision"], local_dir=asked["into"]
    )
    return {"path": path}


def _fetch_parts(asked: dict[str, Any]) -> dict[str, Any]:
    """Read parts of Parquet files by ranges, some files at once, and leave each as a file of its own."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(partial(_fetch_part, asked), asked["parts"]))
    return {}


def _fetch_part(asked: dict[str, Any], part: dict[str, Any]) -> None:
    from huggingface_hub import HfFileSystem

    if Path(part["into"]).is_file():  # of an attempt before this one
        return
    place = f"datasets/{asked['repo']}@{asked['revision']}/{part['name']}"
    # no cache: what Arrow asks for is what is fetched
    with HfFileSystem().open(place, "rb", cache_type="none") as file:
        write_part(file, Path(part["into"]), part["groups"], Few(**part["few"]) if part["few"] else None)


def _told(error: Exception, asked: dict[str, Any]) -> BadInput | None:
    """Say what a person has to do about an error of the library; None: trying again may help."""
    from huggingface_hub import constants, errors

    repo, where = asked["repo"], asked["written"]
    page = f"{constants.ENDPOINT}/datasets/{repo}"
    if isinstance(error, errors.GatedRepoError):
        return BadInput(f"{where}: gated: accept its terms at {page}, then sign in (HF_TOKEN, or `hf auth login`)")
    if isinstance(error, errors.RepositoryNotFoundError):
        return BadInput(f"{where}: {page} is not there, or private: correct `repo`, or sign in (HF_TOKEN)")
    if isinstance(error, errors.RevisionNotFoundError):
        return BadInput(f"{where}: the hub has no revision {asked['revision']!r} of it; correct `revision`")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled) and constants.HF_HUB_OFFLINE:
        return BadInput(
            f"{where}: HF_HUB_OFFLINE is set, and it is not whole in {constants.HF_HUB_CACHE}; unset it, or give `repo` a "
            "local folder of its files"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return BadInput(
            f"{where}: the hub has no file {asked.get('name')!r} in it any more; run again, or pin a revision"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return BadInput(
            f"{where}: the hub refuses (HTTP status {status}): sign in (HF_TOKEN), or accept its terms at {page}"
        )
    return None


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        main(asked)
    except Exception as error:  # the library's own, httpx's, the system's
        told = error if isinstance(error, BadInput) else _told(error, asked)
        if told is not None:
            print(f"error: {told}", flush=True)
            sys.exit(2)
        print(f"trouble: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}", flush=True)
        sys.exit(TROUBLE)
