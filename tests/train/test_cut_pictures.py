"""Training on pictures that are cut into tiles: the plan knows every token, packs change nothing, and what was trained answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tiny import make_shards, png

from tinyllava_core.checkpoints import model_section
from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, Asked
from tinyllava_core.job import FeaturesJob, TrainJob
from tinyllava_core.model import checkpoint
from tinyllava_core.model.vision.native import in_patches
from tinyllava_core.recipe import Recipe
from tinyllava_core.settings.model import Model
from tinyllava_core.tokenizer import load_tokenizer
from tinyllava_core.train import features
from tinyllava_core.train.__main__ import load_start, reading, run
from tinyllava_core.train.ledger import read_rows
from tinyllava_core.train.memory import halves
from tinyllava_core.train.passes import pack_losses

MakeJob = Callable[..., TrainJob]
# The tiny encoder takes 24 pixels and gives 9 tokens, or with a shuffle of 3 a single one. Pictures are of 30 x 20.
MODES: dict[str, dict[str, Any]] = {
    "nanovlm": {
        "image_mode": "tiles",
        "connector": "pixel-shuffle",
        "tiling": {"long_side": 48},
        "vision_layer": "final",
    },
    "smolvlm": {"image_mode": "tiles", "connector": "pixel-shuffle", "tiling": {"long_side": 48, "like": "smolvlm"}},
    "dynamic": {"image_mode": "dynamic", "connector": "resampler", "connector_queries": 2, "tiling": {"max_tiles": 3}},
    "anyres": {"image_mode": "anyres"},
    "onevision": {"image_mode": "anyres", "tiling": {"max_tiles": 1}},
    "native": {"image_mode": "native", "vision_layer": "final", "tiling": {"max_patches": 16}},
    "windows": {
        "image_mode": "native",
        "connector": "pixel-shuffle",
        "connector_shrink": 2,
        "tiling": {"max_patches": 16},
    },
}
# Of one picture: image tokens, all its tokens, tiles. nanoVLM: 48 x 48, four tiles and the whole, a mark each. SmolVLM: besides, a
# mark around each, one at the end, and a line's end behind each of two rows, the last one doubled (a token of its own here, of two
# letters). Dynamic: 30/20 is as near to 1/1 as to 2/1, and its 600 pixels are more than half of two tiles'. anyres: 1 x 2 tiles, 24 rows of 36 pixels, of the
# map's 3 x 6 tokens 3 x 4 are left and 3 newlines. OneVision: 12 tokens of a tile's 9 are too many by 1.15: 3 x 4 become 2 x 3.
# native: of at most 16 patches 3 x 5, at a scale of 1.2 (beyond it 4 x 5 are too many); of at most 4 windows of 16 pixels 2 x 2.
EXPECTED = {
    "nanovlm": (5, 10, 5),
    "smolvlm": (5, 5 + 10 + 1 + 3, 5),
    "dynamic": (6, 6, 3),
    "anyres": (9 + 12 + 3, 24, 3),
    "onevision": (9 + 6 + 2, 17, 3),
    "native": (15, 15, 1),
    "windows": (4, 4, 1),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_plan_knows_each_pictures_tokens_and_tiles(mode: str, make_job: MakeJob) -> None:
    plain, cut = make_job("plain", model={"vision_layer": -1}), make_job("cut", model=MODES[mode])
    tokens, tiles = [], []
    for job in (plain, cut):
        rows = {row["position"]: row for row in pq.read_table(job.plan / "plan.parquet").to_pylist()}
        tokens.append([rows[position]["num_tokens"] for position in range(22)])
        tiles.append([rows[position]["num_tiles"] for position in range(22)])
    pictures = np.array([0 if n % 5 == 4 else 2 if n == 7 else 1 for n in range(22)])
    _, ids, num_tiles = EXPECTED[mode]
    assert (np.array(tokens[1]) - tokens[0] == pictures * (ids - 9)).all()
    assert (np.array(tiles[1]) == pictures * num_tiles).all()
    assert cut.recipe.model_in("sft").scheme.cut(30, 20).tokens == EXPECTED[mode][0]


@pytest.mark.parametrize("mode", MODES)
def test_what_was_trained_on_cut_pictures_answers_about_them(mode: str, make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("cut", model=MODES[mode], vision={"trainable_from_layer": 0})
    run(job, [False])
    losses = [row["loss"] for row in read_rows(job.out / "steps.jsonl")]
    assert losses[-1] < losses[0]
    assert all(row["num_tensors_moved"] == row["num_tensors_trained"] for row in read_rows(job.out / "parts.jsonl"))
    saved = job.out / "checkpoint"
    marks = job.recipe.model.scheme.marks
    assert all(load_tokenizer(saved).token_id(mark) is not None for mark in marks)
    kept = {"image_mode", "vision_layer", "connector"} & MODES[mode].keys()
    again = Model.parse(model_section(saved) | {"language": "tiny", "vision": "tiny"}, "checkpoint")
    assert again.scheme == job.recipe.model.scheme
    assert {field: getattr(again, field) for field in kept} == {
        field: getattr(job.recipe.model, field) for field in kept
    }
    answerer = Answerer(saved)
    asked = []
    for number, size in enumerate([(30, 20), (20, 61), (100, 24)]):
        (tmp_path / f"{number}.png").write_bytes(png(number, size))
        shown = answerer.picture(tmp_path / f"{number}.png")
        assert answerer.blank(shown.size).tiles_N3HW.shape == shown.tiles_N3HW.shape
        asked.append(
            Asked(ids=answerer.ids("what colour is the cat?", [shown.size]), pictures=(shown,), names=(str(number),))
        )
    together = answerer.answer(asked, 5)
    assert together == [answerer.answer([one], 5)[0] for one in asked]
    assert together == answerer.answer(asked, 5)  # from kept features


@pytest.mark.parametrize("mode", MODES)
def test_a_pack_of_cut_pictures_is_each_record_alone_and_so_are_its_halves(mode: str, make_job: MakeJob) -> None:
    job = make_job("cut", model=MODES[mode], pack_length=512)
    model, packs, read = load_start(job).eval(), PlannedPacks(job.shards, job.plan, reading(job)), reading(job)
    pack = packs[0, 0]
    assert len(pack.tiles) > 2
    together = pack_losses(model.supervised_losses, pack, read.vision, "fp32", torch.device("cpu"))
    parts = [pack]
    while any(len(part.tiles) > 1 for part in parts):
        parts = [half for part in parts for half, counts in halves(part, model.config.image_token_id) if counts]
    alone = [pack_losses(model.supervised_losses, part, read.vision, "fp32", torch.device("cpu")) for part in parts]
    assert len(alone) == len(pack.tiles)
    torch.testing.assert_close(torch.cat(alone), together, atol=1e-5, rtol=1e-5)
    plan_row = pq.read_table(job.plan / "steps.parquet")["num_tiles"].to_pylist()[0]
    assert len(pack.every_pixel) == sum(pack.tiles) <= plan_row


@pytest.mark.parametrize("mode", ["nanovlm", "anyres", "windows"])
def test_a_picture_of_several_records_of_a_pack_is_encoded_once(mode: str, make_job: Any, tmp_path: Path) -> None:
    """Three questions about one picture and one about another: losses, gradients and halves are as if each had its own."""
    turns = [[("user", f"<image>how many {n}?"), ("assistant", f"{n} cats")] for n in range(4)]
    make_shards(
        tmp_path / "shards", [(turn, [png(min(n, 1), (30, 20 + 9 * (n == 0)))]) for n, turn in enumerate(turns)]
    )
    how = {"vision": {"trainable_from_layer": 0}, "pack_length": 1024}
    job = make_job.func(tmp_path / "shards", tmp_path, "same", model=MODES[mode], **how)
    model, packs, read = load_start(job).train(), PlannedPacks(job.shards, job.plan, reading(job)), reading(job)
    shared = packs[0, 0]
    each = dataclasses.replace(shared, pixels_N3HW=shared.every_pixel, which_N=None)
    assert len(shared.tiles) == 4
    one, other = (job.recipe.model_in("sft").scheme.cut(30, height).num_tiles for height in (29, 20))
    assert (len(shared.pixels_N3HW), sum(shared.tiles)) == (one + other, one + 3 * other)
    found = []
    for pack in (shared, each):
        model.zero_grad(set_to_none=True)
        losses = pack_losses(model.supervised_losses, pack, read.vision, "fp32", torch.device("cpu"))
        losses.sum().backward()
        found.append((losses.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-4, rtol=1e-3, msg=name)
    parts = [half for half, counts in halves(shared, model.config.image_token_id) if counts]
    alone = [pack_losses(model.supervised_losses, part, read.vision, "fp32", torch.device("cpu")) for part in parts]
    torch.testing.assert_close(torch.cat(alone).detach(), found[0][0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["anyres", "windows"])
def test_kept_features_of_tiles_are_the_tiles_of_each_picture(mode: str, make_job: MakeJob, tmp_path: Path) -> None:
    plain = make_job("plain", model=MODES[mode])
    asked = FeaturesJob(stage="sft", recipe=plain.recipe, shards=plain.shards, out=tmp_path / "features")
    asked.out.mkdir()
    assert features.run(asked).num_images == 18
    kept = make_job("kept", model=MODES[mode]).model_copy(update={"features": asked.out})
    run(plain, [False])
    run(kept, [False])
    ours, others = (load_file(job.out / "checkpoint" / "model.safetensors") for job in (kept, plain))
    assert ("image_newline" in ours) == (mode == "anyres")
    for name, value in others.items():
        torch.testing.assert_close(ours[name], value, atol=3e-3, rtol=1e-2, msg=name)


def test_a_record_with_too_many_tiles_is_kept_under_its_reason(make_job: MakeJob) -> None:
    job = make_job("cut", model=MODES["nanovlm"] | {"tiling": {"long_side": 48, "max_record_tiles": 5}})
    rows = pq.read_table(job.plan / "voided.parquet").to_pylist()
    assert [(row["position"], row["reason"]) for row in rows] == [(7, "too_many_tiles")]


def test_a_stage_that_cuts_pictures_makes_room_in_the_model_of_one_that_did_not(make_job: MakeJob) -> None:
    square = make_job("square", model={"connector": "pixel-shuffle"})
    run(square, [False])
    many = {"vision_layer": -2, "tiling": {"long_side": 120}}  # 26 marks: the embedding has 400 rows, 377 are tokens
    cut = make_job("cut", model=MODES["nanovlm"] | many, start=square.out / "checkpoint")
    model, tokenizer = load_start(cut), load_tokenizer(reading(cut).tokenizer_folder, cut.recipe.model.scheme.marks)
    rows = model.get_input_embeddings().weight
    assert len(rows) == tokenizer.size == model.lm_head.weight.shape[0] == model.config.text_config.vocab_size
    assert len(torch.unique(rows[-3:], dim=0)) == 3
    run(cut, [False])
    assert checkpoint.load(cut.out / "checkpoint").scheme.like == "nanovlm"


def test_a_stage_of_squares_in_a_recipe_of_pictures_of_any_shape_is_planned_with_the_squares_tokens(
    make_job: MakeJob,
) -> None:
    plain = make_job("plain", model={"vision_layer": "final"})
    square = make_job("square", model=MODES["native"], image_mode="square")
    tokens = [pq.read_table(job.plan / "steps.parquet")["num_tokens"].to_pylist() for job in (plain, square)]
    assert tokens[0] == tokens[1]
    run(square, [False])
    assert checkpoint.load(square.out / "checkpoint").tokens_per_image == 9


def test_a_stage_of_pictures_of_any_shape_goes_on_from_one_of_squares(make_job: MakeJob) -> None:
    square = make_job("square", model={"vision_layer": "final"})
    before, pixels = load_start(square).eval(), torch.randn(2, 3, 24, 24)
    checkpoint.save(before, square.recipe.model, "short", reading(square).tokenizer_folder, square.out / "checkpoint")
    native = make_job("native", model=MODES["native"], start=square.out / "checkpoint")
    after, row = load_start(native).eval(), native.recipe.model.seen
    shapes = torch.full((2, 2), 3)
    padded = torch.nn.functional.pad(in_patches(pixels, 8), (0, 0, 0, row.num_patches - 9))
    torch.testing.assert_close(after.image_tokens(padded, shapes)[:, :9], before.image_tokens(pixels))
    run(native, [False])
    assert checkpoint.load(native.out / "checkpoint").vision == row


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"image_mode": "anyres", "connector": "resampler"}, "needs image tokens on a square, connector 'resampler'"),
        (
            {"image_mode": "native", "vision": "clip-vit-large-patch14-336"},
            "needs an encoder that takes pictures of any shape",
        ),
        ({"image_mode": "native", "connector": "resampler"}, "connector 'resampler' looks at all patches of a square"),
        ({"image_mode": "native", "tiling": {"max_patches": 50}}, "expected a square number, such as 49 or 64"),
        (
            {"image_mode": "square", "tiling": {"long_side": 48}},
            "tiling.long_side = 48 has no effect with image_mode 'square'",
        ),
        ({"image_mode": "tiles", "tiling": {"long_side": 50}}, "expected a multiple of the encoder's 72 pixels"),
        ({"image_mode": "dynamic", "tiling": {"min_tiles": 5, "max_tiles": 4}}, "min_tiles = 5 is more than"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_one_line(model: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Recipe.parse(
            {"name": "x", "model": {"vision": "toy-vit", "language": "toy-llama"} | model, "start": "latest"}, "x"
        )


def test_the_encoder_runs_on_few_pictures_at_a_time_where_it_is_frozen(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_start(make_job("cut", model=MODES["nanovlm"])).eval()
    pixels, seen = torch.randn(7, 3, 24, 24), []
    model.model.vision_tower.requires_grad_(False)
    model.model.vision_tower.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    whole = model.image_tokens(pixels)
    monkeypatch.setattr("tinyllava_core.model.tinyllava._AT_ONCE", 3)
    torch.testing.assert_close(model.image_tokens(pixels), whole)
    assert seen == [7, 3, 3, 1]
