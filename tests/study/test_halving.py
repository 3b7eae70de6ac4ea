"""Which variants go on after a part of their steps, worked out by hand."""

from __future__ import annotations

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.study.grid import Study, runs
from tinyllava_core.study.halving import Halving, Measured, cut_in, lines, num_left, stand, told
from tinyllava_core.study.table import cells


def measured(variant: str, loss: float | None, way: str = "seed 1", same: str = "x", why_alone: str = "") -> Measured:
    return Measured(
        variant=variant, way=way, part=0.25, step=75, num_steps=300, loss=loss, same=same, why_alone=why_alone
    )


def going(*ones: Measured, keep: float = 0.5) -> list[str]:
    return [one.variant for one in stand(ones, keep) if one.goes_on]


def test_the_half_with_the_lower_losses_goes_on_rounded_up() -> None:
    losses = {"a": 0.9, "b": 0.5, "c": 0.7, "d": 0.8, "e": 0.6}
    assert going(*(measured(name, loss) for name, loss in losses.items())) == ["b", "c", "e"]
    assert going(*(measured(name, loss) for name, loss in losses.items()), keep=0.2) == ["b"]


def test_the_loss_of_a_variant_is_the_mean_over_its_trainings() -> None:
    """a: 0.5 and 0.9, mean 0.7; b: 0.6 and 0.6, mean 0.6."""
    both = [measured(name, loss, way) for name, way, loss in (
        ("a", "seed 1", 0.5), ("a", "seed 2", 0.9), ("b", "seed 1", 0.6), ("b", "seed 2", 0.6)
    )]  # fmt: skip
    assert going(*both) == ["b"]
    assert [one.loss for one in stand(both, 0.5)] == [pytest.approx(0.7), pytest.approx(0.6)]


def test_losses_over_other_data_or_other_tokens_cut_nobody() -> None:
    """Two groups of two, each halved by itself, and one that stands alone with the worst loss of all."""
    ones = [measured("a", 0.9), measured("b", 0.8), measured("c", 0.3, same="y"), measured("d", 0.2, same="y"), measured("e", 2.0, same="z")]  # fmt: skip
    assert going(*ones) == ["b", "d", "e"]
    alone = stand(ones, 0.5)[-1]
    assert alone.cells() == ["e", "25%: step 75 of 300", "2.0000", "none: no other has the same data, tokens and trainings", "went on"]  # fmt: skip


def test_who_has_no_loss_or_trained_on_the_held_out_records_is_compared_with_nobody_and_goes_on() -> None:
    why = "an earlier stage trains on 3 of the held-out records"
    ones = [measured("a", 0.9), measured("b", 0.8), measured("c", 0.1, why_alone=why), measured("d", None)]
    assert going(*ones) == ["b", "c", "d"]
    assert stand(ones, 0.5)[2].cells()[3] == f"none: {why}"


def test_a_cut_variant_stands_in_the_table_without_a_number_and_below_with_its_loss() -> None:
    rungs = [stand([measured("a", 0.9), measured("b", 0.8)], 0.5)]
    assert cells([], cut_in(rungs)) == [
        ["variant", "trained", "last loss", "training"],
        ["a", "", "", ""],
    ]
    assert lines(rungs) == [
        ["b", "25%: step 75 of 300", "0.8000", "among 2", "went on"],
        ["a", "25%: step 75 of 300", "0.9000", "among 2", "cut, not scored"],
    ]
    assert told(rungs).startswith("Successive halving cut 1 of 2 variants by the loss on held-out records")
    assert told([]) == ""


def test_eight_variants_are_four_after_the_first_part_and_two_after_the_second() -> None:
    assert list(num_left(8, Halving())) == [8, 4, 2]
    assert list(num_left(5, Halving(at=(0.1, 0.2, 0.4)))) == [5, 3, 2, 1]


@pytest.mark.parametrize("at", [[0.5, 0.25], [0, 0.5], [0.5, 1.0], [0.5, 0.5]])
def test_parts_that_do_not_rise_between_nothing_and_all_are_refused(at: list[float]) -> None:
    with pytest.raises(BadInput, match=r"halving\.at = .*expected parts of the steps between 0 and 1, each larger"):
        Study.parse({"name": "s", "recipe": "toy", "grid": {"sft.lr": [1, 2]}, "halving": {"at": at}}, "study")


def test_the_last_stage_of_every_variant_holds_records_out_unless_it_does_already() -> None:
    study = Study.parse(
        {"name": "s", "recipe": "toy", "halving": {"held_out": 90}, "variants": [
            {"name": "a"}, {"name": "b", "set": {"sft.held_out": 30}}, {"name": "c", "set": {"sft": None}}
        ]},
        "study",
    )  # fmt: skip
    held_out = [
        {key: value for key, value in run.overrides.items() if "held_out" in key} for run in runs(study, {}, True)
    ]
    assert held_out == [{"sft.held_out": 90}, {"sft.held_out": 30}, {"pretrain.held_out": 90}]
    assert "sft.held_out" not in runs(study, {})[0].overrides
