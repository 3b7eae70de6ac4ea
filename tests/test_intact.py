"""A file of an artifact that was changed by the disk or by somebody is found by its hash before anything is made of it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.errors import BadInput


@dataclass(frozen=True)
class Made:
    """A result."""

    n: int


def mixed(workspace: Path) -> Artifact:
    def make(folder: Path) -> Made:
        (folder / "inner").mkdir()
        (folder / "inner" / "mix.parquet").write_bytes(b"the order of the records")
        (folder / "a.tar").write_bytes(b"held against its own hashes")
        return Made(3)

    return make_once(workspace, "mix", 1, {}, {}, make)


def used(mix: Artifact, workspace: Path) -> list[str]:
    made = []
    make_once(workspace, "shard", 1, {}, {"mix": mix}, lambda folder: made.append("made") or Made(1))
    return made


def flip(file: Path, at: int = 5) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_an_input_that_was_changed_is_one_line_and_nothing_is_made_of_it(tmp_path, harm):
    mix = mixed(tmp_path)
    harm(mix.folder / "inner" / "mix.parquet")
    with pytest.raises(
        BadInput, match=r"/inner/mix\.parquet: is not what its stage left \(.*\): .*; delete /\S+ and give"
    ):
        used(mix, tmp_path)
    assert not list((tmp_path / "artifacts" / "shard").glob("[0-9a-f]*"))


def test_a_folder_that_somebody_renamed_is_not_taken_for_another(tmp_path):
    mix = mixed(tmp_path)
    other = dataclasses.replace(mix, fingerprint="0123456789abcdef", folder=mix.folder.with_name("0123456789abcdef"))
    mix.folder.rename(other.folder)
    with pytest.raises(BadInput, match=f"it is of artifact {mix.fingerprint}: the folder was renamed"):
        used(other, tmp_path)


def test_every_bit_of_a_result_counts(tmp_path):
    mix = mixed(tmp_path)
    told = mix.folder / "result.json"
    whole = told.read_bytes()
    assert mix.manifest()["result"] == {"n": 3}
    for at in range(len(whole)):
        told.write_bytes(whole)
        flip(told, at)
        try:
            json.loads(told.read_bytes().decode())
        except ValueError:
            pass
        else:
            assert json.loads(told.read_bytes()) != json.loads(whole)
        with pytest.raises(BadInput, match=r"result\.json: is not what its stage left"):
            mix.manifest()


def test_tars_are_not_read_through_and_an_artifact_of_before_there_were_hashes_is_taken_as_it_is(tmp_path):
    mix = mixed(tmp_path)
    flip(mix.folder / "a.tar")
    assert used(mix, tmp_path) == ["made"]
    old = {key: value for key, value in mix.manifest().items() if key != "files"}
    (mix.folder / "result.json").write_text(json.dumps(old))
    (mix.folder / "inner" / "mix.parquet").write_bytes(b"other")
    assert used(mix, tmp_path / "elsewhere") == ["made"]
