"""Lets the registry's torchvision be imported beside a torch without CUDA: its kernels cannot be loaded there, nor are they used.

It looks for the schemas of two of them when it is imported; they are declared a moment before.
"""

import importlib.abc
import sys

KERNELS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class Declare(importlib.abc.MetaPathFinder):
    """Finds nothing; it only sees that torchvision is asked for."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Declare, once."""
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for kernel, schema in KERNELS.items():
                torch.library.define(f"torchvision::{kernel}", schema)


sys.meta_path.insert(0, Declare())
