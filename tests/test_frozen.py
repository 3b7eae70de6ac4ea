"""A YAML file that cannot be read is one line: where, what, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.errors import BadInput
from tinyllava_core.frozen import read_yaml
from tinyllava_core.paths import expanded

FAULTS = {
    "latin-1": ("name: caf\xe9\n".encode("latin-1"), "not UTF-8 at byte 9; save it as UTF-8"),
    "utf-16": ("name: a\n".encode("utf-16"), "not UTF-8 at byte 0; save it as UTF-8"),
    "brackets without end": (b"a: " + b"[" * 20_000 + b"]" * 20_000, "not YAML: nested too deeply"),
    "a key twice": (b"name: a\nurl: b\nname: c\n", "not YAML: key 'name' in line 3 is in line 1 already"),
    "a key twice, deep inside": (b"a:\n- b: 1\n  b: 2\n", "not YAML: key 'b' in line 3 is in line 2 already"),
    "a day that is none": (b"date: 2026-02-31\n", "not YAML: day is out of range for month"),
    "an integer of five thousand digits": (b"a: " + b"9" * 5000, "not YAML: Exceeds the limit (4300 digits)"),
    "an integer of 65 bits": (b"a: 1\nb: 9223372036854775808", "not YAML: the number in line 2 has more than 64 bits"),
    "an integer of thousands of digits in hexadecimal": (
        b"a: 0x" + b"f" * 5000,
        "not YAML: the number in line 1 has more",
    ),
    "a tag that the value is not of": (b"a: !!bool x\n", "not YAML: a value is not of the kind that its tag says"),
    "a merge key twice": (
        b"a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n",
        "not YAML: key '<<' in line 4 is in line 3 already",
    ),
    "a tag of Python's": (b"a: !!python/object/apply:os.system [id]\n", "not YAML: could not determine a constructor"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, kind: str) -> None:
    data, fault = FAULTS[kind]
    file = tmp_path / "mine.yaml"
    file.write_bytes(data)
    for read in (read_yaml, lambda path: load(str(path))):
        with pytest.raises(BadInput) as told:
            read(file)
        assert str(told.value).startswith(f"{file}: {fault}")
        assert "\n" not in str(told.value)


def test_a_folder_is_no_yaml_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: Is a directory; expected a YAML file"):
        read_yaml(tmp_path)


def test_a_mark_in_front_and_merged_keys_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(file) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


def test_the_home_of_nobody_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"~nobody-here/x.yaml: there is no home folder for '~nobody-here'; write the"):
        expanded("~nobody-here/x.yaml")
    with pytest.raises(BadInput, match="there is no home folder"):
        load("~nobody-here/x.yaml")
    assert expanded("~/x") == Path.home() / "x"
    assert expanded("a~b") == Path("a~b")


BOMB = "name:\n  - &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize("text", [BOMB, "name: &a [*a]\n"])
def test_anchors_that_unfold_without_end_are_one_line_at_once(tmp_path: Path, text: str) -> None:
    """Nine to the tenth values in eleven lines: the error about them was never done with being written."""
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"a\.yaml: not YAML: its anchors unfold to more than 1,000,000 values"):
        read_yaml(tmp_path / "a.yaml")
