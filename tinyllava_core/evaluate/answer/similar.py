"""`python -m tinyllava_core.evaluate.answer.similar JOB`, the job as JSON: how alike a CLIP or SigLIP finds a picture and the words about it.

One number a record, the cosine of both embeddings, for a mix's filters; its size means something within one model alone. It drops nothing.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from tinyllava_core.artifact import aside_of
from tinyllava_core.curate.rows import Row, Source
from tinyllava_core.data.inspect.decode import decode_named
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import pick_device
from tinyllava_core.job import Progress, SimilarityJob, obey, tell

_TOGETHER = 32  # records of one pass


def main(arguments: list[str]) -> int:
    """Do a job. Exit code 2 and one line on stderr if the input is at fault."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return obey(lambda: similar(SimilarityJob.model_validate_json(arguments[-1])))


def similar(job: SimilarityJob) -> None:
    """Write record_id, similarity and similarity_cut (the words were longer than the model reads), for records with a picture."""
    source = Source(name=job.source, inspected=job.inspected, images=job.images)
    encoder = Encoder(job.model, torch.device(pick_device(job.device)))
    rows = [row for row in source.rows() if row.pictures]
    found: dict[str, list[Any]] = {"record_id": [], "similarity": [], "similarity_cut": []}
    for some in _some(rows):
        values, cut = encoder.compare(
            [decode_named(job.source, job.images, row.pictures[0]) for row in some], [row.answered for row in some]
        )
        found["record_id"] += [row.record_id for row in some]
        found["similarity"] += values
        found["similarity_cut"] += cut
        tell(Progress(done=len(found["record_id"]), total=len(rows), unit="records"))
    pq.write_table(pa.table(found), aside := aside_of(job.out))
    publish(aside, job.out)


class Encoder:
    """A model with an encoder of pictures and one of words into the same space."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Load it by its hub name or folder. Raises BadInput if it cannot be had, or has not both encoders."""
        try:
            self.model = AutoModel.from_pretrained(name).to(device).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            self.pictures = AutoImageProcessor.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise BadInput(f"--similarity {name}: cannot be loaded: {' '.join(str(error).split())[:200]}") from None
        if not hasattr(self.model, "get_text_features") or not hasattr(self.model, "get_image_features"):
            kind = type(self.model).__name__
            raise BadInput(
                f"--similarity {name}: {kind} has not both an encoder of pictures and one of words; name a CLIP or SigLIP"
            )
        self.device = device
        self.most = self.model.config.text_config.max_position_embeddings
        self.is_siglip = self.model.config.model_type.startswith("siglip")

    @torch.inference_mode()
    def compare(self, pictures: Sequence[np.ndarray], texts: Sequence[str]) -> tuple[list[float], list[bool]]:
        """Give the cosine of each picture [H, W, 3] with its text, and whether the text was cut."""
        pixels = self.pictures(list(pictures), return_tensors="pt")["pixel_values"]
        lengths = [len(ids) for ids in self.tokenizer(list(texts))["input_ids"]]
        # SigLIP has only seen texts padded to the end, and no mask. Source: its model card.
        padding = "max_length" if self.is_siglip else True
        words = self.tokenizer(list(texts), padding=padding, truncation=True, max_length=self.most, return_tensors="pt")
        names = ("input_ids",) if self.is_siglip else ("input_ids", "attention_mask")
        of_texts = _features(self.model.get_text_features(**{name: words[name].to(self.device) for name in names}))
        of_pictures = _features(self.model.get_image_features(pixel_values=pixels.to(self.device)))
        return torch.cosine_similarity(of_pictures, of_texts).tolist(), [length > self.most for length in lengths]


def _features(found: Any) -> Tensor:
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features.float()


def _some(rows: Sequence[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while some := list(itertools.islice(iterator, _TOGETHER)):
        yield some


if __name__ == "__main__":
    sys.exit(main(sys.argv))
