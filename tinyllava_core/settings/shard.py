"""Section `shard` of a recipe: how a mix is written as WebDataset tars."""

from __future__ import annotations

from pydantic import Field, field_validator

from tinyllava_core.data.files.schemes import is_remote
from tinyllava_core.frozen import Frozen


class Shard(Frozen):
    """How large a tar is, and how large the images in it may be."""

    records_per_shard: int | None = Field(None, ge=1, description="A tar has at most so many records. null: no limit.")
    size_bytes: int = Field(
        1_000_000_000,
        ge=1,
        description="A tar has about so many bytes at most. WebDataset's documentation: 256 MB to 1 GB and more.",
    )
    max_side: int | None = Field(
        None,
        ge=16,
        description="Images whose longer side has more pixels are stored scaled down to it, as JPEG. null: every file's own bytes.",
    )
    pictures_once: bool = Field(
        False,
        exclude_if=lambda once: not once,  # shards from before there was this keep their fingerprints
        description="Store a picture that several records of a tar show with the first of them alone; in the others a link of the tar "
        "stands for it. `tar` and whoever reads by index.parquet see every picture; webdataset and datasets leave links out.",
    )
    store: str | None = Field(
        None,
        description="URL of a folder in a store (s3://bucket/folder, gs://...) that each tar is moved to once it is written, "
        "and read from. null: tars stay in the workspace.",
    )

    @field_validator("store")
    @classmethod
    def _is_a_url(cls, store: str | None) -> str | None:
        if store is not None and not is_remote(store):
            raise ValueError(
                f"{store!r} is no URL of a store; expected s3://bucket/folder, gs://..., az://... or file://..."
            )
        return store
