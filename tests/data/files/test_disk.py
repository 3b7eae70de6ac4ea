import pytest

from tinyllava_core.data.files import disk
from tinyllava_core.errors import BadInput


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (27_400_000_000, "27.4 GB"), (5e15, "5000.0 TB")],
)
def test_sizes_are_written_for_people(size_bytes, text):
    assert disk.in_words(size_bytes) == text


def test_a_disk_that_is_too_small_is_one_error_with_what_is_needed_and_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000_000}))
    disk.require_free(tmp_path, 900_000_000, "a.zip")
    disk.require_free(tmp_path, 0, "a.zip")
    with pytest.raises(
        BadInput, match=r"a\.zip: needs 950\.0 MB more on the disk of .*, where 1\.0 GB are free; make room"
    ):
        disk.require_free(tmp_path, 950_000_000, "a.zip")  # 64 MiB are left to others
