"""A regression on the shares of mixes: each is foretold from the others alone, as another way to solve it gives."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllava_core.study.regressed import foretold_by_ridge, ridge_rank


def test_each_mix_is_foretold_from_the_others_as_least_squares_with_a_penalty_row_a_group() -> None:
    chance = np.random.default_rng(0)
    shares, outcomes = chance.dirichlet([1.2] * 4, 9), chance.normal(size=9)
    shares[:, 3] = 0  # a group that no mix has
    found = foretold_by_ridge(shares.tolist(), outcomes.tolist())
    for left_out in range(9):
        others = [place for place in range(9) if place != left_out]
        scaled = (shares - shares[others].mean(0)) / np.maximum(shares[others].std(0), 1e-12)
        table = np.vstack([scaled[others], np.eye(4)])
        weights, *_ = np.linalg.lstsq(table, np.append(outcomes[others] - outcomes[others].mean(), np.zeros(4)))
        assert found[left_out] == pytest.approx(scaled[left_out] @ weights + outcomes[others].mean())


def test_what_follows_the_shares_is_ranked_and_noise_is_not() -> None:
    chance = np.random.default_rng(1)
    shares = chance.dirichlet([1.2] * 3, 40)
    assert ridge_rank(shares.tolist(), (shares @ [1.0, -2.0, 0.5]).tolist()) > 0.97
    assert abs(ridge_rank(shares.tolist(), chance.normal(size=40).tolist())) < 0.4
