"""`tinyllava push`: a run's exported model, its card and where it came from, as one commit on a hub."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tinyllava_core.commands.arguments import add_workspace
from tinyllava_core.errors import BadInput
from tinyllava_core.secret import without_places

if TYPE_CHECKING:
    from tinyllava_core.report.facts import RunFacts

HELP = "put a run's exported model with its card and provenance on a hub; without --yes it only says what it would send"
DESCRIPTION = (
    "Everything goes in one commit: whoever reads the repository finds all of it or none. Without --yes nothing is sent and "
    "nobody is asked. HF_TOKEN (or `hf auth login`) and HF_ENDPOINT mean what they mean to the hub's own library."
)
CARD, PROVENANCE = "README.md", "provenance.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "run", metavar="RUN", help="`latest`, a run's id, or its first letters; its recipe has an `export`"
    )
    parser.add_argument("repo", metavar="OWNER/NAME", help="the model on the hub; it is made if it is not there")
    parser.add_argument("--private", action="store_true", help="make it private, if it is made")
    parser.add_argument("--yes", action="store_true", help="send it")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Say what goes where; with --yes, send it and give its address."""
    from tinyllava_core.report.gather import gather_named
    from tinyllava_core.report.html import size

    _check_name(args.repo)
    files = contents(gather_named(args.workspace, args.run))
    from huggingface_hub import constants

    told = {name: file.stat().st_size if isinstance(file, Path) else len(file) for name, file in files.items()}
    for name, num_bytes in told.items():
        print(f"{size(num_bytes):>10}  {name}")
    where = f"{constants.ENDPOINT}/{args.repo}"
    if not args.yes:
        print(
            f"{size(sum(told.values())):>10}  in {len(told)} files would go to {where}; nothing was sent: --yes sends it"
        )
        return
    print(f"{size(sum(told.values())):>10}  in {len(told)} files to {where}", flush=True)
    print(send(files, args.repo, private=args.private))


def contents(facts: RunFacts) -> dict[str, Path | bytes]:
    """Give what is sent -> name in the repository: a file of this disk, or its bytes. Raises BadInput if something is not there."""
    from tinyllava_core.checkpoints import EXPORT_CARD
    from tinyllava_core.report.card import FILE

    exported = next((artifact.folder / "hf" for _, artifact in facts.of("export")), None)
    if exported is None:
        raise BadInput(
            f"run {facts.run_id}: it has no export; set one on its recipe (`--set export=hf-llava`) and run it again: only the export is made"
        )
    if not (exported / "config.json").is_file():
        raise BadInput(f"run {facts.run_id}: {exported} is gone; run the recipe again: only what is missing is made")
    card = next((artifact.folder / FILE for _, artifact in facts.of("report")), None)
    if card is None or not card.is_file():
        raise BadInput(f"run {facts.run_id}: it has no model card yet ({FILE} is written with its report)")
    files: dict[str, Path | bytes] = {
        path.relative_to(exported).as_posix(): path for path in sorted(exported.rglob("*")) if path.is_file()
    }
    if isinstance(told := files.get(EXPORT_CARD), Path):
        files[EXPORT_CARD] = json.dumps(without_places(json.loads(told.read_bytes())), indent=1).encode()
    return {**files, CARD: card, PROVENANCE: json.dumps(provenance(facts), indent=1, default=str).encode()}


def provenance(facts: RunFacts) -> dict[str, Any]:
    """Say where a model came from: the recipe in full, code and packages, every artifact, every source with its hash and licence."""
    from tinyllava_core.results import DownloadResult

    sources = [artifact.result(DownloadResult) for _, artifact in facts.of("download")]
    return without_places(
        {
            "run": facts.run_id,
            "started_at": facts.started_at,
            "code": {"commit": facts.git_commit, "has_other_changes": facts.git_dirty},
            "packages": dict(facts.packages),
            "recipe": yaml.safe_load(facts.recipe.as_yaml()),
            "overrides": dict(facts.overrides),
            "artifacts": [
                {"stage": stage, "name": name, "fingerprint": one.fingerprint} for stage, name, one in facts.stages
            ],
            "sources": [
                {
                    "name": one.source,
                    "kind": one.kind,
                    "licence": one.licence,
                    "from": one.urls,
                    "annotations_sha256": one.annotations_sha256,
                    "files": one.num_files,
                    "not_downloaded": one.num_failed,
                }
                for one in sources
            ],
        }
    )


def send(files: Mapping[str, Path | bytes], repo: str, *, private: bool = False) -> str:
    """Send all files as one commit -> its address. Raises BadInput, in one line, if the hub does not take it; then nothing is there."""
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # of httpx, or of what followed it

    if get_token() is None:
        raise BadInput(f"{repo}: no token to write to the hub with; set HF_TOKEN, or `hf auth login`")
    api = HfApi(library_name="tinyllava-pipelines")
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)  # None: as the owner has it by default
        return str(
            api.create_commit(
                repo, added, commit_message="A run of TinyLLaVA Pipelines, with its provenance"
            ).commit_url
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        said = (getattr(error, "server_message", None) or str(error)).strip().splitlines()
        act = ": the token may not write there; make one with the right to write" if status in (401, 403) else ""
        raise BadInput(f"{api.endpoint}/{repo}: the hub refuses ({status}{act}): {said[0] if said else ''}") from None
    except (OSError, HTTPError) as error:  # no network, cut off
        why = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"{api.endpoint}/{repo}: {why}; nothing is there yet, and the same command may be given again"
        ) from None


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise BadInput(f"{repo!r} is no name of a hub's model: {str(error).splitlines()[0]}") from None
    if "/" not in repo:
        raise BadInput(f"{repo!r} is no name of a hub's model: expected OWNER/NAME")
