"""Layers of hybrid language models that carry a state along the sequence: in a pack, each record gets a state of its own.

Attention is told where records end (attention.py); a convolution or a recurrence is not, and would carry the end of one record
into the next, silently. So such a layer runs once a record; what it gives is put together again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tinyllava_core.errors import BadInput
from tinyllava_core.model.records import Records

# Classes whose forward takes hidden states [1, T, D] first, or by name, and the records among its other arguments.
_CARRIERS = {"Lfm2ShortConv", "Qwen3_5GatedDeltaNet", "Qwen3NextGatedDeltaNet", "GraniteMoeHybridMambaLayer"}
_ATTENDS = {"full_attention", "sliding_attention", "chunked_attention", "attention"}  # of a configuration's layer_types


def split_by_record(language: nn.Module) -> None:
    """Let every layer of `language` that carries a state run record by record, where it is told of records. Done twice: nothing."""
    for module in language.modules():
        kind: Any = type(module)
        if kind.__name__ in _CARRIERS and not hasattr(kind, "whole_forward"):
            module.__class__ = _splitting(kind)  # type: ignore[assignment]  # not a function of the instance: a copy of it would call the original


def check_known(config: Any, name: str) -> None:
    """Raise BadInput for a language model with layers that are neither attention nor split here: its records would mix."""
    kinds = set(getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ())
    if kinds - _ATTENDS and config.model_type not in _HYBRIDS:
        raise BadInput(
            f"language model {name!r}: its layers of type {', '.join(sorted(kinds - _ATTENDS))} carry a state from one packed record "
            f"into the next, and how to part them is known of {', '.join(_HYBRIDS)} alone; use another model"
        )


_HYBRIDS = ("lfm2", "qwen3_5_text", "granitemoehybrid")


@cache
def _splitting(kind: Any) -> type[nn.Module]:
    """Make a class like `kind` that runs once a record."""
    return type(
        kind.__name__, (kind,), {"forward": _forward, "whole_forward": kind.forward, "__module__": kind.__module__}
    )


def _forward(self: Any, hidden_states: Tensor, *more: Any, records: Records | None = None, **named: Any) -> Tensor:
    if records is None:
        whole: Tensor = self.whole_forward(hidden_states, *more, **named)
        return whole
    parts = hidden_states.split(list(records.lengths), dim=1)
    return torch.cat([self.whole_forward(part, *more, **named) for part in parts], dim=1)
