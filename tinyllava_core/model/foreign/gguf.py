"""A language model out of a GGUF file (llama.cpp's): dequantized, as the folder that `model.language` takes. No model that sees.

transformers' own reader does it, by the package gguf; which architectures it reads is its affair. Quantized weights come back
as the numbers that they stand for, not as the ones that were quantized.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import torch

from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput, unforeseen

SUFFIX = ".gguf"
_ONLY_OF_THE_FILE = ("quantization_config", "_name_or_path")


def bring_language(file: Path, out: Path) -> str:
    """Write config.json, weights in float32 and tokenizer -> the model's type.

    Raises BadInput if the file cannot be read, a package is not here, or `out` is there already.
    """
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise BadInput(f"{file}: reading GGUF needs the package {package}: pip install 'tinyllava-pipelines[gguf]'")
    if not file.is_file():
        raise BadInput(f"{file}: no such file")
    if out.exists():
        raise BadInput(f"{out}: is there already; name another folder with --out")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        read, loaded = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # a stranger's file may raise anything in what reads it
        raise BadInput(f"{file}: transformers does not read this GGUF: {unforeseen(error)}") from None
    if missing := sorted(loaded["missing_keys"]):  # transformers would make them up
        raise BadInput(
            f"{file}: {len(missing)} tensors of the model are not in it (the first: {missing[0]}); is it whole?"
        )
    told = {key: _short(value) for key, value in read.config.to_dict().items() if key not in _ONLY_OF_THE_FILE}
    plain = AutoModelForCausalLM.from_config(type(read.config)(**told))  # one that was read from GGUF cannot be saved
    plain.load_state_dict(read.state_dict())
    aside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    plain.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    publish(aside, out)
    return str(plain.config.model_type)


def _short(value: object) -> object:
    """Give a number that the file has in 32 bits as it was written: 9.999999747e-06 is 1e-05."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
