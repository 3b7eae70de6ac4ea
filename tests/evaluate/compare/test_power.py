"""What a benchmark can show: against the textbook, and against comparisons simulated with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllava_core import cli
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.compare.power import Plan, lines, questions_for, smallest_difference, standard_error


def test_the_error_is_mcnemars_and_kishs() -> None:
    assert standard_error(Plan(num_questions=2000, differ=0.2)) == pytest.approx(1.0)  # 100 * sqrt(.2 / 2000)
    assert standard_error(Plan(num_questions=2000, differ=0.2, per_picture=6, alike=0.6)) == pytest.approx(2.0)
    assert standard_error(Plan(num_questions=2000, seeds=2, seed_sd=1)) == pytest.approx(2**0.5)


def test_the_smallest_difference_is_the_error_times_quantiles() -> None:
    assert smallest_difference(Plan(num_questions=2000)) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    ten = smallest_difference(Plan(num_questions=2000, num_benchmarks=10))
    assert ten == pytest.approx(2.807034 + 0.841621, abs=1e-5)


def test_questions_and_difference_are_each_others_inverse() -> None:
    plan = Plan(num_questions=1000, per_picture=3, seeds=3, seed_sd=0.4)
    wanted = questions_for(2.0, plan)
    assert wanted is not None
    assert smallest_difference(Plan(num_questions=wanted, per_picture=3, seeds=3, seed_sd=0.4)) <= 2.0
    assert questions_for(0.5, Plan(num_questions=1000, seed_sd=1.0)) is None
    assert any("takes more trainings" in line for line in lines(Plan(num_questions=1000, seed_sd=1.0)))


def test_it_is_found_in_eighty_of_a_hundred_simulated_comparisons() -> None:
    rng, plan = np.random.default_rng(7), Plan(num_questions=1500, differ=0.2)
    gain = smallest_difference(plan) / 100
    found = 0
    for _ in range(400):
        drawn = rng.choice([1, -1, 0], 1500, p=[(0.2 + gain) / 2, (0.2 - gain) / 2, 0.8])
        error = drawn.std(ddof=1) / 1500**0.5
        found += abs(drawn.mean() / error) > 1.96
    assert 0.74 < found / 400 < 0.86


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--plan", "1"], "questions = 1; expected 2 or more"),
        (["--plan", "100", "--differ", "0"], "share that differs = 0.0"),
        (["--plan", "100", "--seeds", "0"], "seeds = 0"),
        ([], "give two runs or score files, or --plan"),
        (["a.json"], "give two runs or score files, or --plan"),
    ],
)
def test_a_plan_that_makes_no_sense_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    assert cli.main(["compare", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert fault in err


def test_the_command_says_it_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "--plan", "2000"]) == 0
    assert "smallest difference found in 80 of 100 comparisons: 2.80 points" in capsys.readouterr().out
    with pytest.raises(BadInput):
        questions_for(0, Plan(num_questions=10))
