"""Two recipes with several seeds each: Student's distribution, and intervals in worlds with known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.compare.seeds import compare_seeds
from tinyllava_core.evaluate.compare.student import student_p, student_quantile
from tinyllava_core.evaluate.score.scoring import Item, Variant, mean_and_facets

VARIANT = Variant(meaning="", read=lambda files: [], mark=lambda questions, answers: [], measures=mean_and_facets)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (30, 2.04227), (1e6, 1.95997)]
)
def test_students_quantiles_are_the_tables(freedom: float, quantile: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-5)
    assert student_p(quantile, freedom) == pytest.approx(0.05, rel=1e-3)


def items(rng: np.random.Generator, skill_Q: np.ndarray, seed_effect: float) -> list[Item]:
    """Answer questions, two to a picture: what a picture is worth, what the seed is worth, and chance."""
    right = rng.random(len(skill_Q)) < np.clip(skill_Q + seed_effect, 0, 1)
    return [
        Item(question_id=n, image=f"{n // 2}.jpg", parsed="", score=float(one), cluster=f"{n // 2}.jpg")
        for n, one in enumerate(right)
    ]


@pytest.mark.parametrize(("seeds", "seed_sd", "gain"), [(2, 0.0, 0.0), (3, 0.03, 0.05), (4, 0.06, 0.0)])
def test_the_interval_holds_the_truth_in_about_95_of_100_worlds(seeds: int, seed_sd: float, gain: float) -> None:
    rng, held, worlds = np.random.default_rng(11), 0, 150
    for _ in range(worlds):
        base_Q = np.repeat(rng.uniform(0.3, 0.8, 100), 2)
        sides = [[items(rng, base_Q + more, rng.normal(0, seed_sd)) for _ in range(seeds)] for more in (0.0, gain)]
        found = compare_seeds("x", VARIANT, *sides)
        held += found.ci_low <= 100 * gain <= found.ci_high
    assert held / worlds >= 0.92


def test_equal_recipes_are_rarely_called_different_and_a_large_gain_is_found() -> None:
    rng = np.random.default_rng(5)
    base_Q = np.repeat(rng.uniform(0.3, 0.6, 200), 2)
    sides = [[items(rng, base_Q + more, rng.normal(0, 0.01)) for _ in range(3)] for more in (0.0, 0.25)]
    found = compare_seeds("x", VARIANT, *sides)
    assert found.verdict() == "second is better"
    assert found.difference == pytest.approx(25, abs=5)
    assert found.notes == ("3 and 3 seeds",)
    same = compare_seeds("x", VARIANT, sides[0], sides[0])
    assert (same.difference, same.verdict()) == (0, "within noise")


def test_one_seed_or_other_questions_are_refused() -> None:
    rng = np.random.default_rng(1)
    one = items(rng, np.full(10, 0.5), 0.0)
    with pytest.raises(BadInput, match="one seed on a side"):
        compare_seeds("x", VARIANT, [one], [one, one])
    with pytest.raises(BadInput, match="not about the same questions"):
        compare_seeds("x", VARIANT, [one, one[:5]], [one, one])


def test_the_command_takes_seeds_with_commas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from tinyllava_core import cli

    rows = [{"question_id": n, "image": f"{n // 2}.jpg", "text": f"Is {n}?", "label": "no"} for n in range(40)]
    (tmp_path / "pope.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rng = np.random.default_rng(3)
    for name, skill in (("a1", 0.5), ("a2", 0.5), ("b1", 0.95), ("b2", 0.95)):
        said = [{"question_id": n, "text": "No" if rng.random() < skill else "Yes"} for n in range(40)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
        words = [
            "--answers",
            tmp_path / f"{name}.jsonl",
            "--annotations",
            tmp_path / "pope.json",
            "--variant",
            "accuracy",
        ]
        assert cli.main(["score", "pope", *map(str, words), "--out", str(tmp_path / f"{name}.json")]) == 0
    capsys.readouterr()
    first, second = (",".join(str(tmp_path / f"{side}{n}.json") for n in (1, 2)) for side in "ab")
    assert cli.main(["compare", first, second, "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["notes"]) == ("second is better", ["2 and 2 seeds"])
    assert cli.main(["compare", first, second.split(",")[0]]) == 2
    assert "one seed on a side" in capsys.readouterr().err
