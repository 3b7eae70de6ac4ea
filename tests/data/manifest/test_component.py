"""Which component claims a record: whole folders are compared, however a path is spelt."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from tinyllava_core.data.manifest.component import Component

PATHS = [
    "vg/1.jpg",
    "vg/VG_100K/1.jpg",
    "vg",
    "vgg/1.jpg",
    "./vg/1.jpg",
    "vg//1.jpg",
    "vg/./1.jpg",
    "/vg/1.jpg",
    "",
    ".",
    "a/vg/1.jpg",
]


@pytest.mark.parametrize("prefix", ["vg", "vg/", "./vg", "vg/VG_100K", "vg//VG_100K", ""])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_claimed_as_pathlib_compares_whole_folders(path: str, prefix: str) -> None:
    claimed = Component(name="part", prefix=prefix).claims([path])
    assert claimed == PurePosixPath(path).is_relative_to(prefix)


def test_a_record_without_a_picture_is_claimed_by_the_text_alone() -> None:
    assert Component(name="text", text_only=True).claims([])
    assert not Component(name="text", text_only=True).claims(["vg/1.jpg"])
    assert not Component(name="vg", prefix="vg").claims([])
