"""The perceptual hash against a slow, independent one in floating point, and its near and far."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from tinyllava_core.data.inspect.phash import NEAR, distance, grey_boxes, phash


def picture(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def slow_phash(grey_YX):
    """DCT-II as the textbooks write it, in double precision; a bit for each of the 8 x 8 low ones above their median."""
    side = len(grey_YX)

    def dct(values):
        return [
            sum(value * math.cos(math.pi * (2 * x + 1) * u / (2 * side)) for x, value in enumerate(values))
            for u in range(8)
        ]

    rows = [dct(row) for row in grey_YX]
    columns = [dct([row[u] for row in rows]) for u in range(8)]  # [u][v]
    flat = [columns[u][v] for v in range(8) for u in range(8)]
    middle = sum(sorted(flat)[31:33]) / 2
    return int("".join("1" if value > middle else "0" for value in flat), 2)


@pytest.mark.parametrize("name", ["people/astronaut.jpg", "coffee.png", "cats/chelsea.jpg", "camera.png"])
def test_it_is_the_textbooks_hash_of_the_averaged_picture(photos, name):
    image = picture(photos[name])
    assert phash(image) == slow_phash(grey_boxes(image).tolist())


def test_the_boxes_are_averages():
    """64 x 64, the upper half 10 and the lower 30, one column of boxes 100 brighter; 8 bits of fraction."""
    grey = np.full((64, 64), 10, np.uint8)
    grey[32:] += 20
    grey[:, 4:6] += 100
    boxes = grey_boxes(Image.fromarray(grey))
    assert boxes.shape == (32, 32)
    assert (boxes[:16, 0] == 10 * 256).all()
    assert (boxes[16:, 31] == 30 * 256).all()
    assert (boxes[:16, 2] == 110 * 256).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (31, 33), (63, 65), (200, 3)])
def test_any_size_has_a_hash(size):
    assert 0 <= phash(Image.linear_gradient("L").resize(size)) < 1 << 64


def versions(image):
    """The same picture written and scaled in other ways."""
    for quality in (50, 75, 95):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        yield Image.open(buffer).convert("RGB")
    for factor in (0.5, 2):
        for kernel in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
            yield image.resize((int(image.width * factor), int(image.height * factor)), kernel)
    yield image.convert("L")


@pytest.mark.parametrize("name", ["people/astronaut.jpg", "coffee.png", "cats/chelsea.jpg", "camera.png"])
def test_the_same_picture_in_another_guise_is_near(photos, name):
    image = picture(photos[name])
    assert max(distance(phash(image), phash(version)) for version in versions(image)) <= NEAR


def test_different_pictures_are_far(photos):
    hashes = [phash(picture(data)) for data in photos.values()]
    assert min(distance(a, b) for place, a in enumerate(hashes) for b in hashes[:place]) > 2 * NEAR


def test_distance_counts_bits():
    assert distance(0b1011, 0b0001) == 2
    assert distance(0, (1 << 64) - 1) == 64
