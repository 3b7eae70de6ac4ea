"""The tables of parts: vision encoders, connectors, language models. One row each; exact keys; no torch here.

The GPU half builds a part from its row; the CPU half plans with it (tokens of an image, tokenizer, prompt).
"""

from tinyllava_core.parts.connector import CONNECTORS, Connector, Shape, connector_shape
from tinyllava_core.parts.language import LANGUAGES, Language, language_row, prompt_of, tokenizer_folder
from tinyllava_core.parts.vision import TOY_BACKBONES, VISIONS, Vision

__all__ = [
    "CONNECTORS",
    "LANGUAGES",
    "TOY_BACKBONES",
    "VISIONS",
    "Connector",
    "Language",
    "Shape",
    "Vision",
    "connector_shape",
    "language_row",
    "prompt_of",
    "tokenizer_folder",
]
