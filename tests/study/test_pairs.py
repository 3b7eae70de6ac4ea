"""A study's variants against its first, and beside published numbers: what is compared, and what is left out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tests.study.test_table import finished
from tinyllava_core.evaluate.compare.score_pair import Kept
from tinyllava_core.evaluate.score.scoring import Item
from tinyllava_core.study.grid import Study
from tinyllava_core.study.page import Tables, write_page
from tinyllava_core.study.pairs import against_first, beside_published, pair_rows, published_rows
from tinyllava_core.study.table import Finished, tabulate


def with_items(folder: Path, variant: str, right: int, seed: int = 1) -> Finished:
    """A run with 40 questions of toy-vqa's rule, each about its own picture, the first `right` of them right."""
    path = folder / f"{variant}-{seed}.jsonl"
    items = [Item(question_id=n, image=None, parsed="", score=float(n < right), cluster=str(n)) for n in range(40)]
    path.write_text("".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in items))
    kept = Kept(name="toy", scorer="gqa", variant="official", judge=None, prompt_sha256=None, items=path)
    return dataclasses.replace(finished(variant, seed, 100 * right / 40), kept=(kept,))


def test_a_variant_is_tested_against_the_first_and_corrected_for_all_of_them(tmp_path: Path) -> None:
    """40 questions: 30 right against 10 is no chance, 30 against 29 is; the second p is not below the first's correction."""
    runs = [with_items(tmp_path, name, right) for name, right in (("a", 10), ("b", 30), ("c", 11))]
    (b, far), (c, near) = against_first(runs)
    assert (b, c) == ("b", "c")
    assert (far.first, far.second, far.difference) == (25, 75, 50)
    assert (far.is_noise, near.is_noise) == (False, True)
    assert far.p_holm == 2 * far.p_value
    assert pair_rows([(b, far)])[0][:5] == ("b", "toy", "25.0", "75.0", "+50.0")
    assert pair_rows([(b, far)])[0][-1] == "the variant is better"


def test_several_seeds_are_draws_too_and_one_against_several_is_left_out(tmp_path: Path) -> None:
    """With one seed 20 against 26 of 40 in the same order is beyond chance; seeds that spread by 8 of 40 make it noise."""
    first = [with_items(tmp_path, "a", right, seed) for seed, right in enumerate((16, 24))]
    other = [with_items(tmp_path, "b", right, seed) for seed, right in enumerate((22, 30))]
    ((_, difference),) = against_first([*first, *other])
    assert (difference.first, difference.second) == (50, 65)
    assert difference.is_noise
    assert against_first([*first, other[0]]) == []


def test_a_model_is_published_only_if_nothing_but_its_parts_is_set() -> None:
    parts = {"model.language": "tinyllama-1.1b", "seed": 7, "evaluate.blind": False}
    assert {row.model for row in published_rows("base", parts)} == {"Sig-TL"}
    assert published_rows("base", parts | {"sft.mix": [{"source": "sharegpt4v-sft-665k"}]}) == []
    assert published_rows("base", parts | {"model.connector": "linear"}) == []


def test_the_page_lays_ours_beside_theirs_and_links_to_the_runs(tmp_path: Path) -> None:
    run = dataclasses.replace(
        finished("<a>", 1, 86.0),
        published=tuple(published_rows("base", {"model.language": "tinyllama-1.1b"})),
        report=tmp_path / "artifacts" / "report" / "f" / "report.html",
    )
    told = beside_published([run])
    assert [(variant, one.published, one.is_within_error) for variant, one in told] == [("<a>", 86.1, True)]
    study = Study.parse({"name": "mine", "recipe": "toy", "variants": [{"name": "<a>"}]}, "test")
    runs = [with_items(tmp_path, "a", 10), with_items(tmp_path, "b", 30)]
    tables = Tables(differences=against_first(runs), published=told)
    out = tmp_path / "studies" / "mine" / "study.html"
    out.parent.mkdir(parents=True)
    write_page(study, tabulate([run]), [], out, [run], tables)
    html = out.read_text()
    assert html.count('href="../../artifacts/report/f/report.html"') == 2  # the variant's name, and the list of runs
    assert "LOG.md" in html
    assert "these two checkpoints differ" in html
    assert "<a>" not in html
