import gzip
import shutil

import pytest

from tinyllava_core.data.files import packed as module
from tinyllava_core.data.files.packed import laid
from tinyllava_core.errors import BadInput

TEXT = b'[{"id": "1"}]' * 1000


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("x.json", TEXT, "annotations.json"),
        ("x.json.gz", gzip.compress(TEXT), "annotations.json"),
        ("x.csv.gz", gzip.compress(TEXT[:6000]) + gzip.compress(TEXT[6000:]), "annotations.csv"),
    ],
    ids=["bare", "gzip", "two gzips in one"],  # gzip writes the time: bytes in an id would differ from worker to worker
)
def test_a_packed_file_lies_there_as_what_is_in_it(tmp_path, name, data, found):
    (tmp_path / name).write_bytes(data)
    to = laid(tmp_path / name, tmp_path / "annotations")
    assert to == tmp_path / found
    assert to.read_bytes() == TEXT


@pytest.mark.parametrize("fault", ["cut", "flipped", "no gzip", "behind it"])
def test_a_broken_one_is_one_line_and_leaves_nothing(tmp_path, fault):
    data = bytearray(gzip.compress(TEXT))
    if fault == "cut":
        data = data[: len(data) // 2]
    elif fault == "flipped":
        data[20:24] = bytes(255 - byte for byte in data[20:24])
    elif fault == "no gzip":
        data = bytearray(TEXT)
    else:
        data += b"more"
    (tmp_path / "x.json.gz").write_bytes(data)
    with pytest.raises(BadInput, match=r"^x\.json\.gz: broken gzip: .*; download it again$"):
        laid(tmp_path / "x.json.gz", tmp_path / "annotations")
    assert [file.name for file in tmp_path.iterdir()] == ["x.json.gz"]


def test_a_bomb_is_refused_and_so_is_a_disk_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(BadInput, match=r"^x\.json\.gz: unpacks to more than \d+ bytes: refused as a bomb$"):
        laid(tmp_path / "x.json.gz", tmp_path / "annotations")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 64 << 20}))
    with pytest.raises(BadInput, match=r"^x\.json\.gz: needs 1\.0 MB more on the disk"):
        laid(tmp_path / "x.json.gz", tmp_path / "annotations")
    assert [file.name for file in tmp_path.iterdir()] == ["x.json.gz"]
