"""Make the toy world's two backbones from nothing: `python -m tinyllava_core.toyworld.make [OUT]`.

They stand for the pretrained models of a hub: the vision encoder has seen pictures but no sentence; the language model has
read about scenes, told as a bag of words for each place, but seen no picture. It is run once; the pipeline only loads the
folders it leaves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from tinyllava_core.parts import TOY_BACKBONES
from tinyllava_core.toyworld.make.language import LANGUAGE_STEPS, make_language
from tinyllava_core.toyworld.make.vision import VISION_STEPS, make_vision


def main(arguments: list[str]) -> None:
    """Make both backbones under OUT (default: where the package looks for them)."""
    parser = argparse.ArgumentParser(prog="python -m tinyllava_core.toyworld.make", description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=TOY_BACKBONES)
    parser.add_argument("--only", choices=("vision", "language"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # tensors this small gain nothing from more
    if options.only != "language":
        make_vision(options.out / "vision", VISION_STEPS)
    if options.only != "vision":
        make_language(options.out / "language", LANGUAGE_STEPS)


if __name__ == "__main__":
    main(sys.argv[1:])
