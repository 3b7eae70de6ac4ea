"""Which kinds of stores there are (s3://, gs://, file://, memory://), told by the scheme of an fsspec URL. It opens none."""

from __future__ import annotations

# scheme -> what must be installed for it ("": nothing more); a new store is a row here
SCHEMES = {"file": "", "memory": "", "s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


def is_remote(path: str) -> bool:
    """Tell whether a path of a manifest or a recipe is an fsspec URL, rather than a place on this disk or an http(s) URL."""
    return path.partition("://")[0] in SCHEMES and "://" in path
