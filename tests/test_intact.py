"""A file of an artifact that was changed by the disk or by somebody is found by its hash before anything is made of it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.checkpoints import find
from tinyllava_core.data.manifest.located import newest
from tinyllava_core.errors import BadInput
from tinyllava_core.intact import finished
from tinyllava_core.results import StartResult


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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"result": []}',
        b'{"result": {}, "spec": {}, "inputs": {}, "made_at": 3}',
        b"[" * 99_999,
    ],
)
def test_a_result_that_cannot_be_read_costs_itself_and_none_of_the_others(tmp_path, capsys, content):
    """One broken inspection ended `data stats`, `judge` and `show` of every source with a traceback, a broken training `ask`."""
    stages = ("inspect", "sft")
    result = StartResult(source="mine", size_bytes=1, checkpoint_sha256="0")
    good = {stage: make_once(tmp_path, stage, 1, {}, {}, lambda _: result) for stage in stages}
    for stage in stages:
        broken = tmp_path / "artifacts" / stage / "00000000000000aa"
        broken.mkdir()
        (broken / "result.json").write_bytes(content)
        assert [folder for folder, _ in finished(broken.parent)] == [good[stage].folder]
        assert f"passed over: {broken}/result.json: is not what its stage left" in capsys.readouterr().err
    assert newest(tmp_path, "inspect", "mine") == (good["inspect"].folder, dataclasses.asdict(result))
    assert find(tmp_path, "latest") == dataclasses.replace(good["sft"], made=False)
    with pytest.raises(BadInput, match="there is none in"):
        find(tmp_path, "00000000000000aa")
