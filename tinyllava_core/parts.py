"""The tables of parts: vision encoders, connectors, language models. One row each; exact keys; no torch here.

The GPU half builds a part from its row; the CPU half plans with it (tokens of an image, tokenizer, prompt).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinyllava_core.errors import BadInput

TOY_BACKBONES = Path(__file__).parent / "toyworld" / "backbones"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """A vision encoder: where its weights are and what one image becomes."""

    weights: str  # a Hugging Face folder on disk, or a hub name
    revision: str | None = None  # pinned commit of a hub name
    image_size: int  # pixels, square
    patch_size: int  # pixels, square
    width: int  # channels of a hidden state
    num_layers: int
    num_class_tokens: int  # leading tokens that are no patch: CLIP and DINOv2 1, SigLIP 0
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: bool = False  # short edge to image_size, then centre crop (CLIP); else squash (SigLIP)

    @property
    def num_patches(self) -> int:
        """Patches of one image: what a connector that keeps all of them hands to the language model."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A causal language model: where its weights are and how it was taught to read."""

    weights: str
    revision: str | None = None
    width: int
    num_layers: int
    prompt: str  # key of data/prompt.py's table, for sft


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A connector: what it does to the number of image tokens. Its class is in model/connector.py under the same key."""

    keeps_tokens: bool = True


_HALF = (0.5, 0.5, 0.5)

VISIONS: dict[str, Vision] = {
    # The embedded default, made by toyworld/make_backbones.py.
    "toy-vit": Vision(
        weights=str(TOY_BACKBONES / "vision"), image_size=72, patch_size=12, width=128, num_layers=4, num_class_tokens=0, mean=_HALF, std=_HALF
    ),
    # Source: model cards on the hub; class tokens and sizes as in the reference implementation's processors.
    "clip-vit-large-patch14-336": Vision(
        weights="openai/clip-vit-large-patch14-336", image_size=336, patch_size=14, width=1024, num_layers=24, num_class_tokens=1,
        mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711), crop=True,
    ),
    "siglip-so400m-patch14-384": Vision(
        weights="google/siglip-so400m-patch14-384", image_size=384, patch_size=14, width=1152, num_layers=27, num_class_tokens=0, mean=_HALF, std=_HALF
    ),
}  # fmt: skip

CONNECTORS: dict[str, Connector] = {
    "mlp": Connector(),
    "linear": Connector(),
}

LANGUAGES: dict[str, Language] = {
    "toy-llama": Language(weights=str(TOY_BACKBONES / "language"), width=128, num_layers=4, prompt="short"),
    "tinyllama-1.1b": Language(
        weights="TinyLlama/TinyLlama-1.1B-Chat-v1.0", width=2048, num_layers=22, prompt="vicuna"
    ),
    "phi-2": Language(weights="microsoft/phi-2", width=2560, num_layers=32, prompt="vicuna"),
}


def tokenizer_folder(language: Language) -> Path:
    """Give the folder with the language model's tokenizer, fetching it from the hub where the row names one.

    Raises BadInput if it cannot be had.
    """
    folder = Path(language.weights)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                language.weights,
                revision=language.revision,
                allow_patterns=["tokenizer*", "special_tokens_map.json", "generation_config.json"],
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BadInput(
            f"the tokenizer of {language.weights} is neither in the hub's cache nor to be fetched ({type(error).__name__}); "
            "connect to the hub once, or set HF_HOME to a cache that holds it"
        ) from None
