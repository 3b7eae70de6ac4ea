import hashlib
import math
from collections import Counter
from fractions import Fraction

import pyarrow.parquet as pq
import pytest
from inspected import inspected

from tinyllava_core.data.mix.mix import mix
from tinyllava_core.errors import BadInput
from tinyllava_core.results import MixResult
from tinyllava_core.settings.mix import MixEntry

SHARES = [0.1, 0.25, 0.5, 0.999, 1.0, 1.5, 2.0, 2.75, 3.0]


@pytest.fixture
def source(tmp_path):
    def make(name, num_records, num_images=lambda index: 1, folder="inspected", component=lambda index: None):
        home = tmp_path / folder / name
        return inspected(
            home, name, [{"num_images": num_images(n), "component": component(n)} for n in range(num_records)]
        )

    return make


def rule(entries, seed):
    """The mix's rule once more, in plain Python: [(record_id, repeat)] in order."""

    def turn(record_id, repeat):
        return hashlib.md5(f"{seed}:{record_id}:{repeat}".encode()).hexdigest()

    chosen = []
    for entry, source in entries:
        ids = pq.read_table(source.records / "records.parquet")["record_id"].to_pylist()
        wanted = math.floor(Fraction(entry.share) * len(ids) + Fraction(1, 2))
        wanted = min(wanted, entry.cap or wanted)
        copies = [(repeat, turn(one, repeat), one) for repeat in range(math.ceil(entry.share)) for one in ids]
        chosen += [(one, repeat) for repeat, _, one in sorted(copies)[:wanted]]
    return sorted(chosen, key=lambda row: (turn(*row), *row))


def rows(out):
    return pq.read_table(out / "mix.parquet").to_pylist()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", [0, 42])
def test_the_query_does_what_plain_python_does(tmp_path, source, share, seed):
    entries = [
        (MixEntry(source="a", share=share), source("a", 101)),
        (MixEntry(source="b", share=1.25, cap=13), source("b", 17)),
        (MixEntry(source="c"), source("c", 1)),
    ]
    mix(entries, seed, tmp_path)
    found = rows(tmp_path)
    assert [(row["record_id"], row["repeat"]) for row in found] == rule(entries, seed)
    assert [row["position"] for row in found] == list(range(len(found)))


def test_shares_are_counted_exactly(tmp_path, source):
    entries = [
        (MixEntry(source="half", share=0.5), source("half", 9)),  # 4.5: 5
        (MixEntry(source="twice", share=2), source("twice", 4)),  # 8
        (MixEntry(source="more", share=1.5), source("more", 4)),  # 6: each once, two of them again
        (MixEntry(source="capped", share=2, cap=5), source("capped", 4)),  # each once, one of them again
    ]
    result = mix(entries, 1, tmp_path)
    counts = {
        name: [row["repeat"] for row in rows(tmp_path) if row["source"] == name]
        for name in ("half", "twice", "more", "capped")
    }
    assert {name: sorted(repeats) for name, repeats in counts.items()} == {
        "half": [0] * 5,
        "twice": [0] * 4 + [1] * 4,
        "more": [0] * 4 + [1] * 2,
        "capped": [0] * 4 + [1],
    }
    assert (result.num_records, result.num_distinct_records, result.num_sources) == (24, 5 + 4 + 4 + 4, 4)


def test_the_result_counts_images_and_text_only_records(tmp_path, source):
    entry = (MixEntry(source="a", share=2), source("a", 4, num_images=lambda index: index))  # 0, 1, 2, 3 images
    assert mix([entry], 7, tmp_path) == MixResult(
        num_sources=1,
        num_records=8,
        num_distinct_records=4,
        num_images=12,
        num_text_only=2,
        num_left_out=0,
        num_duplicates=0,
        num_contaminated=0,
        seed=7,
    )
    assert {row["record_id"][-1]: row["num_images"] for row in rows(tmp_path)} == {"0": 0, "1": 1, "2": 2, "3": 3}


def test_the_same_mix_twice_is_the_same_bytes_whatever_the_order_of_its_entries(tmp_path, source):
    a, b = (MixEntry(source="a"), source("a", 500)), (MixEntry(source="b", share=0.3), source("b", 500))
    written = []
    for number, entries in enumerate([[a, b], [a, b], [b, a]]):
        out = tmp_path / str(number)
        out.mkdir()
        mix(entries, 3, out)
        written.append((out / "mix.parquet").read_bytes())
    assert written[0] == written[1] == written[2]


def test_another_seed_is_another_order_and_another_half(tmp_path, source):
    entry = (MixEntry(source="a", share=0.5), source("a", 100))
    chosen = []
    for seed in (1, 2):
        mix([entry], seed, tmp_path)
        chosen.append([row["record_id"] for row in rows(tmp_path)])
    assert set(chosen[0]) != set(chosen[1])


def test_a_smaller_share_is_the_beginning_of_a_bigger_one(tmp_path, source):
    inspected, chosen = source("a", 100), []
    for share in (0.2, 0.6, 1.0):
        mix([(MixEntry(source="a", share=share), inspected)], 5, tmp_path)
        chosen.append([row["record_id"] for row in rows(tmp_path)])
    assert chosen[0] == chosen[2][:20]
    assert chosen[1] == chosen[2][:60]


def test_a_folder_name_that_looks_like_a_pattern_is_a_folder_name(tmp_path, source):
    result = mix([(MixEntry(source="a"), source("a", 3, folder="run[1]*"))], 5, tmp_path)
    assert result.num_records == 3


def test_a_source_named_twice_is_refused(tmp_path, source):
    inspected = source("a", 3)
    with pytest.raises(BadInput, match="source 'a' is there twice"):
        mix([(MixEntry(source="a"), inspected), (MixEntry(source="a"), inspected)], 5, tmp_path)


def test_a_source_that_would_give_nothing_is_named(tmp_path, source):
    entries = [(MixEntry(source="a"), source("a", 3)), (MixEntry(source="b", share=0.1), source("b", 3))]
    with pytest.raises(BadInput, match=r"share 0\.1 of source 'b' is not one record"):
        mix(entries, 5, tmp_path)


def thirds(index):
    return ("read", "look", None)[index % 3]


def test_a_component_has_its_own_share_and_cap(tmp_path, source):
    """Thirty records, ten of each component and ten of none."""
    entry = MixEntry(source="a", share=1.0, components={"read": 0.5, "look": {"share": 2, "cap": 13}})
    mix([(entry, source("a", 30, component=thirds))], 5, tmp_path)
    taken = Counter((row["component"], row["repeat"]) for row in rows(tmp_path))
    assert taken == {("read", 0): 5, ("look", 0): 10, ("look", 1): 3, (None, 0): 10}


def test_share_0_with_a_component_takes_that_component_alone(tmp_path, source):
    entry = MixEntry(source="a", share=0, components={"look": {"share": 1}})
    result = mix([(entry, source("a", 30, component=thirds))], 5, tmp_path)
    assert {row["component"] for row in rows(tmp_path)} == {"look"}
    assert (result.num_records, result.num_left_out) == (10, 20)


def test_the_cap_of_a_source_is_over_all_its_components(tmp_path, source):
    """Every record once before any twice: ten of each, then two of look's second copies."""
    entry = MixEntry(source="a", cap=32, components={"look": 2})
    mix([(entry, source("a", 30, component=thirds))], 5, tmp_path)
    assert Counter(row["repeat"] for row in rows(tmp_path)) == {0: 30, 1: 2}


def test_another_share_of_one_component_moves_no_record_of_another(tmp_path, source):
    inspected, orders = source("a", 30, component=thirds), []
    for share in (0.2, 1.0):
        mix([(MixEntry(source="a", components={"read": share}), inspected)], 5, tmp_path)
        orders.append([row["record_id"] for row in rows(tmp_path) if row["component"] != "read"])
    assert orders[0] == orders[1]


def test_a_component_that_is_not_there_is_named_with_the_nearest(tmp_path, source):
    entry = MixEntry(source="a", components={"loook": 2})
    with pytest.raises(BadInput, match=r"no component 'loook'; nearest: 'look'\. It has: look, read"):
        mix([(entry, source("a", 30, component=thirds))], 5, tmp_path)


def test_mix_and_left_out_are_all_records(tmp_path, source):
    entries = [
        (MixEntry(source="a", share=0.5, components={"look": {"cap": 2}}), source("a", 31, component=thirds)),
        (MixEntry(source="b", share=3, filters=("index % 2 = 0", "index < 10")), source("b", 20)),
        (MixEntry(source="c", cap=4), source("c", 9)),
    ]
    result = mix(entries, 5, tmp_path)
    left = pq.read_table(tmp_path / "left_out.parquet").to_pylist()
    taken = {row["record_id"] for row in rows(tmp_path)}
    assert taken.isdisjoint(row["record_id"] for row in left)
    assert len(taken) + len(left) == 31 + 20 + 9 == result.num_distinct_records + result.num_left_out
    # a: 10 look of which 5 by the share, 2 by the cap; 21 others, 10.5: 11 of them.  b: 10 odd, 5 even above 10.  c: 9 - 4
    assert Counter((row["source"], row["rule"], row["value"]) for row in left if row["rule"] in ("share", "cap")) == {
        ("a", "share", "0.5 of look"): 5,
        ("a", "cap", "2 of look"): 3,
        ("a", "share", "0.5"): 10,
        ("c", "cap", "4"): 5,
    }
    assert {row["record_id"]: (row["rule"], row["value"]) for row in left if row["source"] == "b"} == {
        f"b-{n:08d}": ("index % 2 = 0", f"index = {n}") if n % 2 else ("index < 10", f"index = {n}")
        for n in range(20)
        if n % 2 or n >= 10
    }


def test_a_source_that_a_filter_empties_says_so(tmp_path, source):
    entry = MixEntry(source="a", filters=("num_turns > 9",))
    with pytest.raises(BadInput, match=r"not one record \(left out: 3 by num_turns > 9\)"):
        mix([(entry, source("a", 3))], 5, tmp_path)
