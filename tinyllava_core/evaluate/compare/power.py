"""How small a difference can a benchmark show? Asked before a study is begun that cannot answer.

Two models on the same questions, compared as compare.py does. Rules of thumb in closed form; no data, no files.
Source: Miller 2024, arXiv 2411.00640, section 5; the variance of a difference of paired shares is that of McNemar's test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from tinyllava_core.errors import BadInput

LEVEL, POWER = 0.05, 0.8
DIFFER = 0.2  # share of questions on which two models of a kind differ: 10 to 30 % on the benchmarks here


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A comparison that is thought of."""

    num_questions: int
    per_picture: float = 1.0  # questions about one picture
    alike: float = 0.2  # how much questions about one picture agree, 0 to 1 (intra-class correlation)
    differ: float = DIFFER  # share of questions that one model answers rightly and the other does not
    seeds: int = 1  # trainings on each side
    seed_sd: float = 0.0  # standard deviation of the score over trainings, in points
    num_benchmarks: int = 1  # that Holm's correction will count

    def check(self) -> None:
        """Raises BadInput, with the first value that makes no sense."""
        faults = (
            (self.num_questions >= 2, "questions", self.num_questions, "2 or more"),
            (self.per_picture >= 1, "questions per picture", self.per_picture, "1 or more"),
            (0 <= self.alike <= 1, "agreement within a picture", self.alike, "0 to 1"),
            (0 < self.differ <= 1, "share that differs", self.differ, "more than 0, at most 1"),
            (self.seeds >= 1, "seeds", self.seeds, "1 or more"),
            (self.seed_sd >= 0, "standard deviation over seeds", self.seed_sd, "0 or more"),
            (self.num_benchmarks >= 1, "benchmarks", self.num_benchmarks, "1 or more"),
        )
        for fine, name, value, expected in faults:
            if not fine:
                raise BadInput(f"compare --plan: {name} = {value}; expected {expected}")


def standard_error(plan: Plan) -> float:
    """Give the standard error of the difference, in points: of the choice of questions, and of the trainings.

    More seeds shrink the second part alone: the questions stay the same ones.
    """
    plan.check()
    alike = 1 + (plan.per_picture - 1) * plan.alike  # Kish's design effect
    of_questions = 100**2 * alike * plan.differ / plan.num_questions
    return math.sqrt(of_questions + 2 * plan.seed_sd**2 / plan.seeds)


def smallest_difference(plan: Plan) -> float:
    """Give the true difference, in points, that is found in 80 of 100 such comparisons, at 5 % corrected for the benchmarks."""
    normal = NormalDist()
    needed = normal.inv_cdf(1 - LEVEL / plan.num_benchmarks / 2) + normal.inv_cdf(POWER)
    return needed * standard_error(plan)


def questions_for(difference: float, plan: Plan) -> int | None:
    """Give how many questions show a difference of so many points, all else as planned; None: no number does, for the seeds' sake."""
    if difference <= 0:
        raise BadInput(f"compare --plan: difference = {difference}; expected more than 0 points")
    normal = NormalDist()
    needed = normal.inv_cdf(1 - LEVEL / plan.num_benchmarks / 2) + normal.inv_cdf(POWER)
    left = (difference / needed) ** 2 - 2 * plan.seed_sd**2 / plan.seeds
    alike = 1 + (plan.per_picture - 1) * plan.alike
    return math.ceil(100**2 * alike * plan.differ / left) if left > 0 else None


def lines(plan: Plan) -> list[str]:
    """Say it in lines of plain text."""
    smallest = smallest_difference(plan)
    said = [
        f"{plan.num_questions:,} questions, {plan.per_picture:g} to a picture, {100 * plan.differ:g} % answered differently, "
        f"{plan.seeds} trainings a side with {plan.seed_sd:g} points between them, {plan.num_benchmarks} benchmarks",
        f"standard error of a difference: {standard_error(plan):.2f} points",
        f"smallest difference found in 80 of 100 comparisons: {smallest:.2f} points",
    ]
    for points in (0.5, 1.0, 2.0, 5.0):
        wanted = questions_for(points, plan)
        of_seeds = "no number of questions; it takes more trainings"
        said.append(f"to find {points:g} points: {f'{wanted:,} questions' if wanted else of_seeds}")
    return said
