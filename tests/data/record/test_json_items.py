import json
from pathlib import Path

import pytest

from tinyllava_core.data.record import json_items as module
from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.errors import BadInput

VALUES = [{"a": [1, 2.5, -3e2], "b": None}, 'é\n"q" ❤', 12345678, [], {}, True, {"long": "x" * 500}]


def written(folder: Path, text: str, name: str = "a.json") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_gives_what_json_gives_wherever_the_chunks_end(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    path = written(tmp_path, " \n" + json.dumps(VALUES, indent=indent, ensure_ascii=False) + " \n")
    assert list(json_items(path)) == VALUES


def test_a_byte_order_mark_is_no_fault(tmp_path):
    assert list(json_items(written(tmp_path, "\ufeff[1]"))) == [1]


def test_an_empty_array_has_no_items(tmp_path):
    assert list(json_items(written(tmp_path, "[ ]"))) == []


def test_json_lines_are_read_by_suffix_and_empty_lines_passed_over(tmp_path):
    assert list(json_items(written(tmp_path, '{"a": 1}\n\n[2]\n', "a.jsonl"))) == [{"a": 1}, [2]]


@pytest.mark.parametrize("chunk", [1, 4, 1 << 20])
@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[\n{"a": 1},\n{"a": }\n]', 3, "Expecting value"),
        ('[\n{"a": 1}\n{"a": 2}\n]', 3, "expected ',' or ']' after a record, found '{'"),
        ('[\n{"a": 1},\n{"a": "cut', 3, "Unterminated string"),
        ('[\n{"a": 1},\n', 3, "Expecting value"),
        ('[\n{"a": 1}\n', 3, "found 'the end of the file'"),
        ("[1]\n\n[2]", 3, "'[' after the end of the array"),
        ('[\n\n{"a": "line\nend"}]', 3, "Invalid control character"),
    ],
)
def test_broken_json_is_named_by_file_and_line(tmp_path, monkeypatch, chunk, text, line, what):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as error:
        list(json_items(path))
    assert f"{path}, line {line}: broken JSON: " in str(error.value)
    assert what in str(error.value)
    assert "\n" not in str(error.value)


def test_a_fault_early_in_a_big_file_is_told_without_reading_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 100)
    path = written(tmp_path, "[1,\n{'a': 1},\n" + "2," * 10_000 + "3]")
    reads = []
    monkeypatch.setattr(module._Window, "_more", _counted(module._Window._more, reads))
    with pytest.raises(BadInput, match="line 2"):
        list(json_items(path))
    assert len(reads) < 5


def _counted(function, calls):
    def call(self):
        calls.append(1)
        return function(self)

    return call


def test_a_broken_line_of_json_lines_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"a\.jsonl, line 3: broken JSON: Expecting"):
        list(json_items(written(tmp_path, '{"a": 1}\n\n{"a": \n', "a.jsonl")))


def test_a_file_that_is_no_array_says_what_to_do(tmp_path):
    with pytest.raises(BadInput, match=r"line 2: expected a JSON array .*\.jsonl"):
        list(json_items(written(tmp_path, '\n{"a": 1}\n{"a": 2}')))


def test_an_empty_file_is_no_array(tmp_path):
    with pytest.raises(BadInput, match="line 1: expected a JSON array"):
        list(json_items(written(tmp_path, "")))


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'[\n"good",\n"caf\xe9"]')
    with pytest.raises(BadInput, match="line 3: not UTF-8"):
        list(json_items(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="no such annotation file"):
        list(json_items(tmp_path / "none.json"))
