"""The published scores: every name is one of ours, every row says where, and a difference is told as what it is."""

from __future__ import annotations

import pytest

from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.evaluate.compare.published import Table, beside, same_model, table
from tinyllava_core.parts import LANGUAGES, VISIONS


def test_every_benchmark_encoder_and_language_model_of_the_table_is_known() -> None:
    for row in table().rows:
        assert row.vision is None or row.vision in VISIONS, row.model
        assert row.language is None or row.language in LANGUAGES, row.model
        for name, score in row.scores.items():
            assert load(name).kind == "benchmark", name
            assert 0 < score <= {"mme": 2000, "ocrbench": 1000}.get(name, 100), (row.model, name)


def test_every_source_is_used_and_says_how_it_was_measured() -> None:
    used = {row.source for row in table().rows}
    assert used == table().sources.keys()
    with pytest.raises(ValueError, match="row 'x': source 'nowhere' is not among the sources"):
        Table.model_validate({"sources": {}, "rows": [{"model": "x", "source": "nowhere", "scores": {"pope": 1}}]})


def test_the_papers_largest_model_is_found_by_its_parts_and_recipe() -> None:
    found = same_model("siglip-so400m-patch14-384", "phi-2", "share")
    assert [row.source for row in found] == ["lab-log", "old-readme"]
    assert found[0].scores["vqav2-test-dev"] == 79.93
    assert same_model("siglip-so400m-patch14-384", "phi-2", "share-x") == []


def test_a_difference_within_twice_the_error_of_two_draws_is_said_to_be_within_it() -> None:
    """Error 0.5: two draws of the same questions spread by 0.5 x 1.414, and 1.96 of that is 1.386."""
    rows = same_model("siglip-so400m-patch14-384", "phi-2", "share")
    near, far = (beside("pope", 86.4 + by, 0.5, rows)[0] for by in (1.38, -1.39))
    assert (near.published, near.model) == (86.4, "TinyLLaVA-3.1B")
    assert near.difference == pytest.approx(1.38)
    assert (near.is_within_error, far.is_within_error) == (True, False)
    assert "three F1" in near.caveat
    assert beside("toy-pope", 90, 1, rows) == []
