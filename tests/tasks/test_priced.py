"""A study's price beforehand: what is shared is paid once, what is there not at all, and a budget is cut where it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tasks.of_study import priced
from tasks.of_study.priced import Priced, main, price
from tasks.record import spec_of
from tasks.train import train_spec
from tests.tasks.test_record import TRAINED
from tinyllava_core.artifact import make_once
from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.stage import estimate
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.study import grid
from tinyllava_core.study.grid import Study
from tinyllava_core.study.halving import Halving

PEAK = 1e12


def study(**fields: object) -> Study:
    return Study.parse({"name": "mine", "recipe": "toy", **fields}, "test")


RATES = study(grid={"sft.lr": [1.0e-3, 2.0e-3]})


def test_a_stage_that_two_variants_have_in_common_is_paid_once(tmp_path: Path) -> None:
    rows = price(grid.runs(RATES, {}), tmp_path, PEAK, 0.5)
    assert [(row.stage, row.state) for row in rows] == [
        ("pretrain", "new"),
        ("sft", "new"),
        ("pretrain", "shared"),
        ("sft", "new"),
    ]
    assert rows[0].gpu_hours > 0
    assert (rows[2].gpu_hours, rows[2].disk_bytes) == (0, 0)
    assert rows[1].gpu_hours == rows[3].gpu_hours
    half = price(grid.runs(RATES, {}), tmp_path, PEAK, 0.25)
    assert half[1].gpu_hours == pytest.approx(2 * rows[1].gpu_hours)


def test_how_the_work_is_done_makes_no_other_stage(tmp_path: Path) -> None:
    same = study(variants=[{"name": "a"}, {"name": "b", "set": {"sft.save_every": 7}}])
    assert [row.state for row in price(grid.runs(same, {}), tmp_path, PEAK, 0.5)] == ["new", "new", "shared", "shared"]
    seeds = study(variants=[{"name": "a"}], seeds=[1, 2])
    assert {row.state for row in price(grid.runs(seeds, {}), tmp_path, PEAK, 0.5)} == {"new"}


def test_a_training_that_is_in_the_workspace_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = {
        stage: make_once(tmp_path, "plan", 1, {"of": stage}, {}, lambda _: TRAINED) for stage in ("pretrain", "sft")
    }
    monkeypatch.setattr(priced, "find_plan", lambda _workspace, _recipe, stage: plans[stage].folder)
    monkeypatch.setattr(priced, "estimate", lambda recipe, stage, _plan: estimate(recipe, stage, None))
    (run, _) = grid.runs(RATES, {})
    recipe, before = load_recipe(run.recipe, run.overrides), {}
    for stage in recipe.stages():
        spec = spec_of(stage, train_spec(recipe, stage))
        made = make_once(tmp_path, stage, 1, spec, {"plan": plans[stage]} | before, lambda _: TRAINED)
        before = {"start": made}
    assert [row.state for row in price(grid.runs(RATES, {}), tmp_path, PEAK, 0.5)] == ["done", "done", "shared", "new"]
    asking = study(
        variants=[
            {"name": "void", "set": {"sft.void": "ids.txt"}},
            {"name": "sorted", "set": {"sft.sort_by.scores": "losses.parquet"}},
        ]
    )  # on the same places, by another plan: which records are meant is known to the run alone
    assert [row.state for row in price(grid.runs(asking, {}), tmp_path, PEAK, 0.5)] == ["done", "new", "shared", "new"]


def test_halving_costs_between_the_cheapest_and_the_dearest_that_may_go_on() -> None:
    """Last stages of 8, 4, 2 and 2 hours, 1 hour before them. All take a quarter: 4 hours. Two take the next quarter: the cheapest
    1 hour, the dearest 3. One takes the last half: 1 to 4 hours. With the hour before: 7 to 12.
    """
    hours = {"a": 8.0, "b": 4.0, "c": 2.0, "d": 2.0}
    rows = [
        Priced(variant=name, seed=1, stage=stage, state="new", gpu_hours=cost, disk_bytes=0)
        for name, last in hours.items()
        for stage, cost in (("pretrain", 0.25), ("sft", last))
    ]
    assert priced.halved(rows, Halving(), "A100").startswith(
        "with halving: 7.0 to 12.0 A100-hours, by which go on; of 4 variants 2 go on after 25%, 1 go on after 50%. "
    )


def test_a_budget_is_cut_in_the_studys_order() -> None:
    def one(variant: str, hours: float) -> Priced:
        return Priced(variant=variant, seed=1, stage="sft", state="new", gpu_hours=hours, disk_bytes=0)

    rows = [one("a", 3), one("a", 3), one("b", 5), one("c", 1)]
    assert priced._budget(rows, 10) == "a budget of 10 hours has room for: a\nnot for: b; c"
    assert priced._budget(rows, 12) == "a budget of 12 hours has room for: a; b; c"


def test_every_study_at_full_scale_is_priced_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The paper's grid: nine variants, of which six have a pretrain of their own."""
    main(["data-and-recipes", "--workspace", str(tmp_path), "--budget", "100"])
    said = capsys.readouterr().out
    hours = said.partition("21 stages: 18 new, 3 shared; ")[2].partition(" A100-hours")[0]
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    assert f"| 9 | 18 new, 3 shared | {hours} | `toy-recipes` |" in page
    assert "llava-bench-in-the-wild         60" in said
    assert "a budget of 100 hours has room for: TinyLlama, LLaVA-1.5, base; " in said


def test_a_part_of_the_peak_above_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"name": "x", "recipe": "toy", "variants": [{"name": "a"}]}))
    with pytest.raises(BadInput, match="--utilisation 2"):
        main([str(tmp_path / "x.yaml"), "--utilisation", "2"])
