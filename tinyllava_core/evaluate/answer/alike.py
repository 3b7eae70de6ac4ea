"""`python -m tinyllava_core.evaluate.answer.alike JOB`, the job as JSON: which pictures of a source show the same, to an encoder.

A picture is one vector, the mean of its patches behind the encoder's last norm. Vectors are kept, so that a killed run goes on and a picture
is looked at once. It drops nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from tinyllava_core.artifact import aside_of
from tinyllava_core.data.inspect.decode import decode_named
from tinyllava_core.data.tensors.example import fit, normalise
from tinyllava_core.durable import publish
from tinyllava_core.evaluate.answer.answer import pick_device
from tinyllava_core.evaluate.answer.nearest import evened, first_alike, nearest
from tinyllava_core.job import AlikeJob, Pictures, Progress, obey, tell
from tinyllava_core.model.assemble import load_vision
from tinyllava_core.model.vision.states import patches
from tinyllava_core.parts.vision import VISIONS

_TOGETHER = 32  # pictures of one pass
_A_PART = 4096  # of one file


def main(arguments: list[str]) -> int:
    """Do a job. Exit code 2 and one line on stderr if the input is at fault."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return obey(lambda: alike(AlikeJob.model_validate_json(arguments[-1])))


def alike(job: AlikeJob) -> None:
    """Write a row for each different picture of the source: its sha256 and the columns of docs/mix.md."""
    eye = Eye(job.encoder, torch.device(pick_device(job.device)))
    shown, seen_ND = eye.vectors(job.pictures, job.kept)
    mine_ND = evened(seen_ND, seen_ND)
    names = [sha256 for sha256, _ in shown]
    columns = {"sha256": pa.array(names, pa.string())}
    columns["alike"], columns["alike_to"] = _told(*nearest(mine_ND, mine_ND, but_itself=True), names)
    columns["first"] = pa.array([names[place] for place in first_alike(mine_ND, job.above).tolist()], pa.string())
    if job.against:
        theirs = [(one.name, *eye.vectors(one, job.kept)) for one in job.against]
        said = [f"{name}/{path}" for name, asked, _ in theirs for _, path in asked]
        found = nearest(mine_ND, evened(torch.cat([vectors for _, _, vectors in theirs]), seen_ND))
        columns["benchmark_alike"], columns["benchmark_alike_to"] = _told(*found, said)
    pq.write_table(pa.table(columns), aside := aside_of(job.out))
    publish(aside, job.out)


class Eye:
    """An encoder of the table of parts, and what it has seen."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Load it. Raises BadInput for an unknown one, or weights that cannot be had."""
        self.row, self.name, self.device = VISIONS[name], name, device
        self.encoder = load_vision(name).to(device).eval()
        digest = hashlib.sha256()
        for key, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(
                key.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        self.weights = digest.hexdigest()[:16]

    def vectors(self, pictures: Pictures, kept: Path) -> tuple[list[tuple[str, str]], Tensor]:
        """Look at every different good picture of a set -> (sha256, path) of each by sha256, unit vectors [N, D].

        Raises BadInput if a file is gone or cannot be read.
        """
        table = pq.read_table(pictures.inspected / "images.parquet", columns=["sha256", "path", "reason"]).to_pylist()
        paths: dict[str, str] = {}
        for row in table:
            if row["reason"] is None:
                paths.setdefault(row["sha256"], row["path"])
        shown = sorted(paths.items())
        home = kept / f"{Path(self.name).name.partition('=')[0]}-{self.weights}"
        home.mkdir(parents=True, exist_ok=True)
        parts = [torch.zeros(0, self.row.width)]
        for first in range(0, len(shown), _A_PART):
            some, file = shown[first : first + _A_PART], home / f"{pictures.inspected.name}-{first:08d}.npy"
            if not file.is_file():
                seen = [self.look(pictures, some[at : at + _TOGETHER]) for at in range(0, len(some), _TOGETHER)]
                with (aside := aside_of(file)).open("wb") as out:
                    np.save(out, torch.cat(seen).half().numpy())
                publish(aside, file)
            parts.append(torch.from_numpy(np.load(file)).float())
            tell(Progress(done=first + len(some), total=len(shown), unit="pictures", note=pictures.name))
        return shown, torch.nn.functional.normalize(torch.cat(parts), dim=1).to(self.device)

    @torch.inference_mode()
    def look(self, pictures: Pictures, some: Sequence[tuple[str, str]]) -> Tensor:
        """Give the unit vectors of some pictures -> [N, D]."""
        fitted = [
            fit(decode_named(pictures.name, pictures.images, path), self.row, "square", "pil") for _, path in some
        ]
        pixels = normalise(torch.stack(fitted).to(self.device), self.row)
        seen_NPV = patches(self.encoder, pixels, "final", self.row.num_skipped)
        return torch.nn.functional.normalize(seen_NPV.float().mean(1), dim=1).cpu()


def _told(cosine_N: Tensor, place_N: Tensor, names: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Write cosines and the names of what they are of; NULL where there was nothing to compare with."""
    places = place_N.tolist()
    alike = [value if place >= 0 else None for value, place in zip(cosine_N.tolist(), places, strict=True)]
    return pa.array(alike, pa.float32()), pa.array(
        [names[place] if place >= 0 else None for place in places], pa.string()
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
