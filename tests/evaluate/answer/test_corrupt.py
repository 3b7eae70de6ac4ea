"""Corruptions: the same pixels for everybody, worse with each severity, and what each one is."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.corrupt import CROP, NOISE, corrupt
from tinyllava_core.recipe import load
from tinyllava_core.settings.condition import CORRUPTIONS, SEVERITIES, Condition, check_robustness, condition, titled

GREY = (127, 127, 127)


def picture(height: int = 96, width: int = 128) -> np.ndarray:
    """A scene of smooth waves and one hard edge."""
    y, x = np.mgrid[:height, :width]
    waves = 128 + 60 * np.sin(x / 9) + 40 * np.cos(y / 5)
    waves[:, width // 2 :] -= 70
    return np.stack([waves, waves / 2, 255 - waves], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_same_picture_is_corrupted_alike_each_time_and_worse_with_each_severity(kind: str) -> None:
    clean = picture()
    before = clean.copy()
    far = []
    for severity in SEVERITIES:
        worse = corrupt(clean, "a.png", kind, severity, GREY)
        assert worse.dtype == np.uint8
        assert (worse == corrupt(clean, "a.png", kind, severity, GREY)).all()
        far.append(1 - worse.size / clean.size if kind == "crop" else abs(worse.astype(int) - clean).mean())
    assert far == sorted(far)
    assert far[0] > 0
    assert (clean == before).all()


@pytest.mark.parametrize("kind", ["noise", "crop"])
def test_another_name_or_severity_draws_anew(kind: str) -> None:
    flat = np.full((100, 100, 3), 128, np.uint8) if kind == "noise" else picture(100, 100)
    drawn = {corrupt(flat, name, kind, 5, GREY).tobytes() for name in ("a", "b", "c", "d")}
    assert len(drawn) == 4


def test_noise_has_the_spread_that_is_written_down_and_a_grain_that_grows_with_the_picture() -> None:
    flat = np.full((200, 300, 3), 128, np.uint8)
    noisy = corrupt(flat, "a", "noise", 1, GREY)
    assert noisy.std() == pytest.approx(255 * NOISE[0], rel=0.02)  # 180,000 draws
    large = corrupt(np.full((448, 448, 3), 128, np.uint8), "a", "noise", 1, GREY)  # twice 224: grains of two pixels
    assert (large[::2, ::2] == large[1::2, 1::2]).all()
    assert (large[::2, ::2] != large[::2, 1:-1:2][:, :1]).any()


def test_blur_spreads_an_edge_as_far_as_the_picture_is_large() -> None:
    for side in (224, 448):
        edge = np.zeros((side, side, 3), np.uint8)
        edge[:, side // 2 :] = 255
        row = corrupt(edge, "a", "blur", 3, GREY)[side // 2, :, 0].astype(float)
        # of a Gaussian of 3 pixels at 224: from 16 % to 84 % are two standard deviations
        assert np.count_nonzero((row > 0.16 * 255) & (row < 0.84 * 255)) == pytest.approx(6 * side / 224, abs=1.5)


def test_a_crop_keeps_a_window_of_the_picture_and_a_rotation_its_size() -> None:
    clean = picture(100, 200)
    for severity, part in zip(SEVERITIES, CROP, strict=True):
        window = corrupt(clean, "a", "crop", severity, GREY)
        assert window.shape == (round(100 * part), round(200 * part), 3)
        places = [
            (top, left)
            for top in range(100 - window.shape[0] + 1)
            for left in range(200 - window.shape[1] + 1)
            if (clean[top, left] == window[0, 0]).all()
        ]
        assert any(
            (clean[top : top + window.shape[0], left : left + window.shape[1]] == window).all() for top, left in places
        )
    turned = corrupt(clean, "a", "rotate", 5, (1, 2, 3))
    assert turned.shape == clean.shape
    assert turned[0, 0].tolist() == [1, 2, 3]  # 80 degrees: the corners are outside


def test_the_smallest_picture_survives_everything() -> None:
    for kind in CORRUPTIONS:
        assert corrupt(np.full((1, 1, 3), 9, np.uint8), "a", kind, 5, GREY).shape == (1, 1, 3)


def test_a_condition_is_one_word() -> None:
    assert condition("seen") == Condition()
    assert condition("blind") == Condition(blind=True)
    assert condition("jpeg-2") == Condition(corruption="jpeg", severity=2)
    for word in ("seen", "blind", "jpeg-2"):
        assert condition(word).word == word
    assert (titled("pope", "seen"), titled("pope", "jpeg-2")) == ("pope", "pope jpeg-2")
    for wrong in ("blur", "blur-0", "blur-6", "fog-1", ""):
        with pytest.raises(BadInput, match="unknown condition"):
            condition(wrong)


def test_a_recipe_asks_for_conditions() -> None:
    asked = load("toy", {"evaluate.robustness": ["blur-3", "noise-1"]}).evaluate
    assert asked.conditions == ("seen", "blind", "blur-3", "noise-1")
    assert load("toy", {"evaluate.blind": False}).evaluate.conditions == ("seen",)
    with pytest.raises(BadInput, match="unknown corruption 'blur3'; nearest: 'blur-3'"):
        load("toy", {"evaluate.robustness": ["blur3"]})
    with pytest.raises(BadInput, match="unknown corruption 'blind'"):
        check_robustness(("blind",))
    with pytest.raises(BadInput, match="stands there twice"):
        check_robustness(("blur-3", "blur-3"))
