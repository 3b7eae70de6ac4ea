"""A part of a source, named in one word, is a source of its own."""

from __future__ import annotations

import pytest
import yaml

from tinyllava_core.data.manifest.component import matches, subset_name
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.errors import BadInput


@pytest.mark.parametrize(
    ("word", "name", "subsets", "components"),
    [
        ("chartqa", "finevision-chartqa", ("chartqa",), []),
        ("sharegpt4v(coco)", "finevision-sharegpt4v-coco", ("sharegpt4v(coco)",), []),
        ("text", "finevision-text", ("text_*",), ["text"]),
        ("CoSyn_400k_*", "finevision-cosyn-400k", ("CoSyn_400k_*",), []),
    ],
)
def test_a_part_has_its_own_name_and_subsets(word, name, subsets, components):
    found = load(f"finevision/{word}")
    assert found.annotations is not None
    assert found.annotations.hub is not None
    assert (found.name, found.annotations.hub.subsets) == (name, subsets)
    assert [component.name for component in found.components] == components
    assert load("finevision").annotations.hub.subsets == (), "the whole stays whole"


def test_a_part_of_ones_own_manifest_is_named_behind_its_path(tmp_path):
    written = {"name": "mine", "annotations": {"hub": {"repo": "./set"}}, "images": [{"embedded": True}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(written))
    found = load(f"{tmp_path / 'mine.yaml'}/a (b)")
    assert (found.name, found.local("./set")) == ("mine-a-b", tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("llava-sft-665k/coco", "llava-sft-665k/coco: parts are of sources whose rows are a hub's; in a mix, name its components"),
        ("finevison/charts", "unknown source, image set or benchmark 'finevison'; nearest: 'finevision'"),
    ],
)  # fmt: skip
def test_what_has_no_parts_says_so(name, message):
    with pytest.raises(BadInput, match=message):
        load(name)


def test_no_subset_of_a_shipped_manifest_is_claimed_twice():
    for name in ("finevision", "the-cauldron", "llava-onevision-data"):
        parts = load(name).components
        for part in parts:
            for subset in part.subsets:
                claims = [other.name for other in parts if matches(subset, other.subsets)]
                assert claims == [part.name], subset


def test_a_subset_is_matched_by_its_very_name_or_a_pattern():
    assert matches("a[b]", ["a[b]"])
    assert matches("sharegpt4v(coco)", ["sharegpt4v(*"])
    assert not matches("sharegpt4v(coco)", ["sharegpt4v", "SHAREGPT4V(*"])
    assert [subset_name(name) for name in ("a (b)", "geoqa+(mathv360k)", "(+)")] == ["a-b", "geoqa-mathv360k", "other"]
