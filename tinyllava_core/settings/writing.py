"""Section `writing` of a training stage: what the prompt format leaves open. The formats themselves are in parts/prompts.py."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tinyllava_core.frozen import Frozen

ImagePlace = Literal["front", "as_written"]
LoneSpace = Literal["learned", "given"]


class Writing(Frozen):
    """How a conversation is written down, beyond its prompt format."""

    image_place: ImagePlace = Field(
        "front",
        description="front: a turn's images stand before its text, each with a newline (the paper's code, which however "
        "merges several into one; here each stays). as_written: where the record's tags are.",
    )
    lone_space: LoneSpace = Field(
        "learned",
        description="The space between `ASSISTANT:` and an answer that does not take it into its first token (a digit in "
        "Qwen's tokenizer). learned: the model is taught to write it, as by the paper's code; an asked model stands before it, "
        "so this is what it needs. given: not part of the loss.",
    )
