"""What tests of a whole download share: a zip, quick patience, what failed, and all files of a folder."""

from __future__ import annotations

import io
import zipfile

import pyarrow.parquet as pq

from tinyllava_core.data.web.patience import Patience

QUICK = Patience(attempts=2, first_wait_s=0.01, timeout_s=2.0, image_timeout_s=2.0, image_retries=0, stall_s=120)


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def failures(out):
    return [(row["name"], row["reason"]) for row in pq.read_table(out / "failures.parquet").to_pylist()]


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
