"""Expected lengths: seeded, as many records as the published counts, and of the kinds that lengths.yaml describes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tinyllava_core.data.manifest.manifest import load as load_manifest
from tinyllava_core.estimate.lengths import TABLE, draw
from tinyllava_core.estimate.looked import look
from tinyllava_core.estimate.stage import error_of_sum, estimate
from tinyllava_core.recipe import load
from tinyllava_core.settings.mix import MixEntry


def of(*entries: dict[str, object], captions: bool = False, count: int = 20_000):
    return draw(tuple(MixEntry(**entry) for entry in entries), 729, captions, count)  # type: ignore[arg-type]


def test_the_kinds_of_the_instruction_mix_are_its_published_counts() -> None:
    rows = yaml.safe_load(TABLE.read_text())["sources"]["llava-sft-665k"]
    assert sum(row["records"] for row in rows) == 665_298
    assert sum(row["records"] for row in rows if row["images"]) == 624_610
    by_kind = {row["kind"]: row["records"] for row in rows}
    parts = {part.name: part.count for part in load_manifest("llava-sft-665k").components}
    coco = ("llava-instruct", "vqav2", "a-okvqa", "refcoco", "okvqa")
    assert sum(by_kind[kind] for kind in coco) == parts["coco"]
    assert (by_kind["gqa"], by_kind["sharegpt"]) == (parts["gqa"], parts["sharegpt"])


@pytest.mark.parametrize("source", list(yaml.safe_load(TABLE.read_text())["sources"]))
def test_every_source_with_lengths_has_a_manifest_that_says_as_many(source: str) -> None:
    rows = yaml.safe_load(TABLE.read_text())["sources"][source]
    manifest = load_manifest(source)
    taken = [part.count for part in manifest.components if part.take]
    counted = sum(taken) if taken and None not in taken else manifest.annotations.count
    assert sum(row["records"] for row in rows) == (counted or 665_298)


def test_the_same_mix_is_drawn_alike_and_in_its_shares() -> None:
    first, again = of({"source": "llava-sft-665k"}), of({"source": "llava-sft-665k"})
    assert np.array_equal(first.num_tokens, again.num_tokens)
    assert first.num_records == 665_298
    assert (first.num_images == 0).mean() == pytest.approx(40_688 / 665_298, abs=0.005)
    assert (first.num_tokens[first.num_images == 1] > 729).all()
    assert of({"source": "llava-sft-665k", "share": 0.5}).num_records == 332_649
    assert of({"source": "llava-sft-665k", "cap": 1000}).num_records == 1000
    without_texts = of({"source": "llava-sft-665k", "components": {"sharegpt": 0, "coco": {"cap": 100_000}}})
    assert without_texts.num_records == 665_298 - 40_688 - 264_100
    assert (without_texts.num_images == 1).all()


def test_captions_have_no_question() -> None:
    """11 words of 1.35 tokens and an end, on average, behind 729."""
    captions = of({"source": "llava-pretrain-558k"}, captions=True)
    assert captions.num_tokens.mean() == pytest.approx(729 + 1 + 11 * 1.35, rel=0.01)
    assert captions.num_supervised.mean() == pytest.approx(1 + 11 * 1.35, rel=0.05)


def test_a_source_that_nobody_knows_is_named(tmp_path: Path) -> None:
    manifest = {"kind": "source", "name": "mine", "annotations": {"path": "a.json", "format": "llava", "count": 70}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(manifest))
    drawn = of({"source": str(tmp_path / "mine.yaml")}, count=100)
    assert (drawn.num_records, drawn.unknown) == (70, ("mine",))


def test_ones_own_file_is_counted_and_looked_at(tmp_path: Path) -> None:
    """Two records of one picture: 4 and 2 words asked, 3 and 1 answered, in 2 and 1 pairs; one of none; one no record."""
    said = [
        (["<image>\nwhat is it", "a cat", "sure", "yes"], {"image": "a.jpg"}),
        (["<image>\nwhat colour", "red"], {"image": "b.jpg"}),
        (["hello there", "good day to you"], {}),
    ]
    records = [
        other | {"conversations": [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]}
        for texts, other in said
    ]
    (tmp_path / "a.json").write_text(json.dumps([*records, {"image": "c.jpg", "conversations": "none"}]))
    manifest = {"kind": "source", "name": "mine", "annotations": {"path": "a.json"}, "images": [{"folder": "."}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(manifest))
    looked = look(load_manifest(str(tmp_path / "mine.yaml")))
    assert looked is not None
    none, one = looked.kinds
    assert (none.images, none.records, none.pairs, none.question, none.answer, none.spread) == (0, 1, 1, 2, 4, 0)
    assert (one.images, one.records, one.pairs) == (1, 3, 1.5)  # 4 in the file, 3 read: 2 of them are 2.67 of all
    assert (one.question, one.answer) == (pytest.approx(6 / 3), pytest.approx(4 / 3))
    assert one.spread == pytest.approx(np.log(7 / 3) / 2)  # of 7 and 3 words
    drawn = of({"source": str(tmp_path / "mine.yaml"), "share": 0.5}, count=100)
    assert (drawn.num_records, drawn.unknown, drawn.looked_at) == (2, (), ("mine (4 of 4 records)",))
    assert drawn.unusable == (0.5, 0.0), "one of four, of which half are taken; all were read"
    assert drawn.tokens_error == 0
    assert len(drawn.num_tokens) == 100


@pytest.mark.parametrize(
    ("recipe", "stage", "steps"),
    [("base", "pretrain", 2181), ("base", "sft", 5198), ("share", "second_pretrain", 4871), ("toy", "sft", 600)],
)
def test_the_papers_steps_are_expected(recipe: str, stage: str, steps: int) -> None:
    assert estimate(load(recipe), stage).load.num_steps == steps


def test_what_a_manifest_knows_about_its_records_is_planned_with_and_said_to_be_unknown() -> None:
    drawn = of({"source": "llava-next-780k", "share": 0.5})
    assert drawn.num_records == 389_644  # half of 779,289, which has no half record
    assert drawn.unknown == ("llava-next-780k",)
    assert of({"source": "finevision"}).num_records == 24_300_000
    assert of({"source": "finevision", "choose": 20_000, "share": 0.5}).num_records == 10_000
    assert of({"source": "finevision", "choose": 20_000, "cap": 3_000}).num_records == 3_000


def test_the_error_of_a_draw_is_how_far_other_draws_are_away() -> None:
    """A hundred draws of 500 records: the spread of their sums is what one of them says, within a fifth."""
    mix = (MixEntry(source="llava-sft-665k"),)
    drawn = [draw(mix, 729, False, 500, seed=seed).num_tokens for seed in range(100)]
    spread = np.std([tokens.sum() for tokens in drawn], ddof=1)
    assert np.mean([error_of_sum(tokens) for tokens in drawn]) == pytest.approx(spread, rel=0.2)
    assert error_of_sum(np.array([4, 8])) == pytest.approx(
        4
    )  # deviations of 2 and 2: a standard deviation of sqrt(8), times sqrt(2)
    assert error_of_sum(np.array([7])) == 0
