import json
import random

import pytest

from tinyllava_core.data.record import json_items as json_items_module
from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.data.record.json_split import item_places, read_item, read_items
from tinyllava_core.errors import BadInput


def values(path, first=0, last=None):
    return [value for _, value in read_items(path, item_places(path)[first:last])]


def written(folder, text, name="a.json"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def anything(random, depth=0):
    kind = random.randrange(8)
    if kind == 0 and depth < 4:
        return [anything(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 1 and depth < 4:
        return {word(random): anything(random, depth + 1) for _ in range(random.randrange(4))}
    return {2: random.random(), 3: None, 4: True}.get(kind, word(random))


def word(random):
    return "".join(random.choice('a\\"[]{},:\n é❤ ') for _ in range(random.randrange(9)))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("odd", [[], [float("inf")], ["\ud800"]], ids=["plain", "infinite", "surrogate"])
def test_any_array_is_split_as_pythons_json_reads_it_wherever_the_chunks_end(tmp_path, monkeypatch, chunk, odd):
    """With an odd item it is the strict reader that walks, some characters at a time."""
    monkeypatch.setattr(json_items_module, "_CHUNK", chunk)
    chance = random.Random(chunk)
    for _ in range(60):
        given = [anything(chance) for _ in range(chance.randrange(6))] + odd
        text = json.dumps(given, indent=chance.choice([None, 1]), ensure_ascii=bool(odd) or chance.random() < 0.5)
        path = written(tmp_path, chance.choice(["", " \n", "\ufeff"]) + text + chance.choice(["", "\n "]))
        assert values(path) == given


def test_any_range_can_be_read_alone_and_any_item_as_it_was_written(tmp_path):
    path = written(tmp_path, '[1, {"a" : "\\ud800"},\n "é" , NaN]')
    places = item_places(path)
    assert values(path, 1, 3) == [{"a": "\ud800"}, "é"]
    assert values(path, 2, 2) == []
    with path.open("rb") as file:
        assert [read_item(file, place) for place in places] == ["1", '{"a" : "\\ud800"}', '"é"', "NaN"]


@pytest.mark.parametrize("odd", ["2", "NaN", '"\\ud800"', "NaN, " + "9" * 5000])
def test_items_are_found_behind_line_ends_of_two_bytes(tmp_path, odd):
    path = written(tmp_path, '\ufeff[\r\n{"a": "é"},\r\n' + odd + ',\r\n{"b":\r\n[1, 2]}\r\n]\r\n')
    with path.open("rb") as file:
        found = [read_item(file, place) for place in item_places(path)]
    assert found == ['{"a": "é"}', *odd.split(", "), '{"b":\r\n[1, 2]}']


def test_json_lines_are_split_at_lines_and_empty_ones_passed_over(tmp_path):
    assert values(written(tmp_path, '\ufeff{"a": 1}\n\n \n[2]', "a.jsonl")) == [{"a": 1}, [2]]


@pytest.mark.parametrize("chunk", [1, 5, 1 << 24])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"a": [1, 2]}',
        "[1, 2",
        "[1, 2}",
        "[1, 2]]",
        "[1] [2]",
        "[1] x",
        "[1,, 2]",
        "[1, 2,]",
        "[,]",
        '[{"a": 1} {"a": 2}]',
        '[{"a": 1]',
        '[\n"open]',
        "[1, {\"a\": 'b'}]",
        '[1, "line\nend"]',
        b'["caf\xe9"]',
    ],
)
def test_what_the_strict_reader_refuses_is_refused_in_its_words(tmp_path, monkeypatch, chunk, text):
    monkeypatch.setattr(json_items_module, "_CHUNK", chunk)
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as strict:
        list(json_items(path))
    with pytest.raises(BadInput) as found:
        values(path)
    assert str(found.value) == str(strict.value)


def test_a_broken_line_of_json_lines_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"a\.jsonl, line 3: broken JSON: Expecting"):
        values(written(tmp_path, '{"a": 1}\n\n{"a": \n', "a.jsonl"))


def test_nesting_without_end_is_told(tmp_path):
    with pytest.raises(BadInput, match="nested too deeply"):
        values(written(tmp_path, "[" * 5000 + "]" * 5000))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="no such annotation file"):
        item_places(tmp_path / "none.json")
