"""The formats that a checkpoint is exported in: transformers' own classes, by the word that a recipe uses. It exports nothing."""

from __future__ import annotations

from typing import Literal

ExportFormat = Literal["hf-llava", "hf-llava-next", "hf-llava-onevision", "hf-idefics3", "hf-lfm2-vl", "vllm-llava"]
