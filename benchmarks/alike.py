"""What `data judge --alike` finds beside the perceptual hash: `python benchmarks/alike.py FOLDER ENCODER`, a folder of different pictures.

Changes 100 of them in six ways and prints, of each, how many are alike to what they were made of, and how many have it nearest of all;
below, how many pairs of different pictures are alike, and how many pictures have such a neighbour: false, also where both show one thing.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.decode import decode
from tinyllava_core.data.inspect.phash import phash
from tinyllava_core.evaluate.answer.alike import Eye
from tinyllava_core.evaluate.answer.nearest import evened
from tinyllava_core.job import Pictures

CHANGES = ("half the size, JPEG 75", "JPEG 20", "80 % of each side", "60 % of each side", "mirrored", "words over it")
CHANGED, BITS = 100, 8  # settings/mix.py's contamination.max_distance
LEVELS = (0.35, 0.6)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("encoder")
    given = parser.parse_args()
    files = sorted(file for file in given.folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    whole = [Image.fromarray(decode(file.read_bytes())) for file in files]
    some = np.random.default_rng(0).choice(len(whole), CHANGED, replace=False)
    eye = Eye(given.encoder, torch.device("cpu"))
    own, hashes = look(eye, [as_file(one) for one in whole])
    own_ND = evened(own, own)
    columns = (f"hash, {BITS} bits", "hash, nearest", *(f"encoder, {level}" for level in LEVELS), "encoder, nearest")
    print(f"{len(whole)} pictures, {given.encoder}\n\n| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for change in CHANGES:
        seen, changed = look(eye, [change_of(whole[place], change) for place in some])
        cosine, bits = (evened(seen, own) @ own_ND.T).numpy(), np.bitwise_count(changed[:, None] ^ hashes)
        at = (np.arange(CHANGED), some)
        by_hash = [(bits[at] <= BITS).sum(), (bits.argmin(1) == some).sum()]
        by_encoder = [*((cosine[at] >= level).sum() for level in LEVELS), (cosine.argmax(1) == some).sum()]
        print(f"| {change} | {' | '.join(map(str, by_hash + by_encoder))} |", flush=True)
    itself = np.eye(len(whole), dtype=bool)
    near = [np.bitwise_count(hashes[:, None] ^ hashes) <= BITS] + [
        (own_ND @ own_ND.T).numpy() >= level for level in LEVELS
    ]
    pairs = [f"{(table & ~itself).sum() / 2:,.0f}" for table in near]
    some_near = [f"{100 * (table & ~itself).any(1).mean():.0f} %" for table in near]
    for what, (of_hash, *of_encoder) in (("different, but alike: pairs", pairs), ("- pictures with one", some_near)):
        print(f"| {what} | {of_hash} | | {' | '.join(of_encoder)} | |")
    return 0


def look(eye: Eye, files: list[bytes]) -> tuple[torch.Tensor, np.ndarray]:
    """Give the vectors and the hashes of some picture files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, file in enumerate(files):
            (folder / f"{number}.png").write_bytes(file)
        pictures = Pictures(name="changed", inspected=folder, images=ImagePlaces.one(folder))
        names = [("", f"{number}.png") for number in range(len(files))]
        seen = torch.cat([eye.look(pictures, names[at : at + 32]) for at in range(0, len(names), 32)])
    return seen, np.array([phash(Image.fromarray(decode(file))) for file in files], np.uint64)


def as_file(image: Image.Image, form: str = "PNG", **how: int) -> bytes:
    """Write a picture."""
    image.save(file := io.BytesIO(), form, **how)
    return file.getvalue()


def change_of(image: Image.Image, change: str) -> bytes:
    """Make one of CHANGES of it."""
    width, height = image.size
    if change.startswith("half"):
        return as_file(image.resize((max(1, width // 2), max(1, height // 2))), "JPEG", quality=75)
    if change.startswith("JPEG"):
        return as_file(image, "JPEG", quality=20)
    if change == "mirrored":
        return as_file(ImageOps.mirror(image))
    if change == "words over it":
        image = image.copy()
        at, size = (width * 0.05, height * 0.4), max(10, height // 6)
        black, white = (0, 0, 0), (255, 255, 255)
        ImageDraw.Draw(image).text(at, "SAMPLE 2026", fill=white, stroke_width=2, stroke_fill=black, font_size=size)
        return as_file(image)
    lost = (1 - int(change[:2]) / 100) / 2
    return as_file(
        image.crop((int(width * lost), int(height * lost), int(width * (1 - lost)), int(height * (1 - lost))))
    )


if __name__ == "__main__":
    sys.exit(main())
