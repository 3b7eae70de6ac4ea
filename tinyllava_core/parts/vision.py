"""The table of vision encoders: one row each, exact keys. What the CPU half plans with; no torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Literal

from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.parts import own

TOY_BACKBONES = Path(__file__).parents[1] / "toyworld" / "backbones"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """A vision encoder: where its weights are and what one image becomes."""

    weights: str  # a Hugging Face folder on disk, or a hub name; "" for a mixture, whose members have theirs
    revision: str | None = None  # pinned commit of a hub name; None: the newest, and the lineage says so
    image_size: int  # pixels, square
    patch_size: int  # pixels, square
    width: int  # channels of a hidden state
    num_layers: int
    num_class_tokens: int  # leading tokens that are no patch: CLIP and DINOv2 1, DINOv3 5, SigLIP 0
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: bool = False  # short edge resized, then centre crop (CLIP, DINOv2); else squashed (SigLIP)
    short_edge: int | None = None  # pixels, before the crop; None: image_size. DINOv2: 256, then crop 224
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    drop_first_patch: bool = False  # lose the first real patch, as some published weights were trained
    mixture: tuple[str, ...] = ()  # keys of encoders whose patches are interleaved; all see the same pixels
    any_shape: bool = False  # takes pictures of any shape (image_mode native): SigLIP 2 NaFlex, and SigLIP made into it

    @property
    def num_patches(self) -> int:
        """Patches of one image that a connector is given."""
        return (self.image_size // self.patch_size) ** 2 * max(1, len(self.mixture)) - int(self.drop_first_patch)

    @property
    def grid(self) -> int | None:
        """Side of the square that the patches lie on; None where they do not lie on one."""
        return None if self.mixture or self.drop_first_patch else self.image_size // self.patch_size

    def native(self, max_patches: int | None) -> Vision:
        """Give the row of this encoder for pictures of any shape: as many patches as the largest has. None: as many as of a square.

        Raises BadInput if it takes squares alone, or the number is no square, on which a connector could lay them.
        """
        if not self.any_shape:
            raise BadInput(
                "image_mode 'native' needs an encoder that takes pictures of any shape, SigLIP or SigLIP 2; this one takes squares"
            )
        side = self.image_size // self.patch_size if max_patches is None else isqrt(max_patches)
        if max_patches is not None and side * side != max_patches:
            raise BadInput(
                f"tiling.max_patches = {max_patches}: expected a square number, such as {side * side} or {(side + 1) ** 2}"
            )
        return replace(self, image_size=side * self.patch_size)

    @property
    def num_skipped(self) -> int:
        """Leading tokens of the encoder's output that the connector is not given."""
        return self.num_class_tokens + int(self.drop_first_patch)


_HALF = (0.5, 0.5, 0.5)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _clip(weights: str, image_size: int, num_class_tokens: int = 1) -> Vision:
    return Vision(
        weights=weights,
        image_size=image_size,
        patch_size=14,
        width=1024,
        num_layers=24,
        num_class_tokens=num_class_tokens,
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        crop=True,
    )


def _clip_and(other: str) -> Vision:
    first = "clip-vit-large-patch14-224"
    return replace(
        _clip("", 224, num_class_tokens=0), mixture=(first, other)
    )  # each member skips its own leading tokens


def _siglip2(name: str, image_size: int, width: int, num_layers: int) -> Vision:
    return Vision(
        weights=f"google/{name}",
        image_size=image_size,
        patch_size=16,
        width=width,
        num_layers=num_layers,
        num_class_tokens=0,
        mean=_HALF,
        std=_HALF,
        resample="bilinear",
        any_shape=True,
    )


def _dinov3(name: str, width: int, num_layers: int) -> Vision:
    return Vision(
        weights=f"facebook/{name}-pretrain-lvd1689m",
        image_size=224,
        patch_size=16,
        width=width,
        num_layers=num_layers,
        num_class_tokens=5,  # and four registers
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        resample="bilinear",
    )


def _siglip(weights: str, resample: Literal["bicubic", "bilinear"], *, drop_first_patch: bool = False) -> Vision:
    return Vision(
        weights=weights,
        image_size=384,
        patch_size=14,
        width=1152,
        num_layers=27,
        num_class_tokens=0,
        mean=_HALF,
        std=_HALF,
        resample=resample,
        drop_first_patch=drop_first_patch,
        any_shape=not drop_first_patch,
    )


class Visions(dict[str, Vision]):
    """The table by its exact keys; looked up, a folder, a hub's name or KEY=PLACE is read where it lies (parts/own.py)."""

    def __missing__(self, name: str) -> Vision:
        key, _, place = name.partition("=")
        if place and key in self:
            return replace(self[key], weights=own.placed(place, "vision encoder"), revision=None)
        if not own.is_place(name):
            raise unknown("vision encoder", name, self)
        return Vision(**own.vision_fields(own.placed(name, "vision encoder")))


# Source: each model's preprocessor_config.json and config.json on the hub. Their commits cannot be looked up where this was
# written, so no revision is pinned.
VISIONS = Visions(
    {
        # The embedded default, made by toyworld/make.
        "toy-vit": Vision(
            weights=str(TOY_BACKBONES / "vision"),
            image_size=72,
            patch_size=12,
            width=128,
            num_layers=4,
            num_class_tokens=0,
            mean=_HALF,
            std=_HALF,
            any_shape=True,
        ),
        # The same encoder for pictures of half the side, made by toyworld/make/low_resolution.py.
        "toy-vit-36": Vision(
            weights=str(TOY_BACKBONES / "vision-36"),
            image_size=36,
            patch_size=6,
            width=128,
            num_layers=4,
            num_class_tokens=0,
            mean=_HALF,
            std=_HALF,
            any_shape=True,
        ),
        "clip-vit-large-patch14-336": _clip("openai/clip-vit-large-patch14-336", 336),  # 576 tokens
        "clip-vit-large-patch14-224": _clip("openai/clip-vit-large-patch14", 224),  # 256
        "siglip-so400m-patch14-384": _siglip("google/siglip-so400m-patch14-384", "bicubic"),  # 729
        # 728: the reference implementation's first version cut a class token off that SigLIP does not have. For its weights only.
        "siglip-so400m-patch14-384-728": _siglip("google/siglip-so400m-patch14-384", "bicubic", drop_first_patch=True),
        "siglip2-so400m-patch14-384": _siglip("google/siglip2-so400m-patch14-384", "bilinear"),  # 729
        # 256, 576, 1024 tokens. 512 is what nanoVLM and SmolVLM's smaller ones cut tiles of.
        **{
            f"siglip2-base-patch16-{size}": _siglip2(f"siglip2-base-patch16-{size}", size, 768, 12)
            for size in (256, 384, 512)
        },
        **{
            f"siglip2-so400m-patch16-{size}": _siglip2(f"siglip2-so400m-patch16-{size}", size, 1152, 27)
            for size in (256, 384, 512)
        },
        # Trained on pictures of any shape, of up to 256 to 1,024 patches (`model.image_mode: native`). Source: arXiv 2502.14786, 2.4.
        "siglip2-base-patch16-naflex": _siglip2("siglip2-base-patch16-naflex", 256, 768, 12),
        "siglip2-so400m-patch16-naflex": _siglip2("siglip2-so400m-patch16-naflex", 256, 1152, 27),
        # 196. The licence is its own, and the weights are given out on request.
        "dinov3-vits16": _dinov3("dinov3-vits16", 384, 12),
        "dinov3-vitb16": _dinov3("dinov3-vitb16", 768, 12),
        "dinov3-vitl16": _dinov3("dinov3-vitl16", 1024, 24),
        # 256, 576, 1024. CLIP's pictures; RMS norms, gated MLPs, no class token. Source: transformers' test_modeling_aimv2.py for the
        # name that its class loads; arXiv 2411.14402, table 1, for the shape. The licence is Apple's own.
        **{
            f"aimv2-large-patch14-{size}": _clip(f"apple/aimv2-large-patch14-{size}", size, num_class_tokens=0)
            for size in (224, 336, 448)
        },
        "dinov2-large-patch14-224": Vision(  # 256
            weights="facebook/dinov2-large",
            image_size=224,
            patch_size=14,
            width=1024,
            num_layers=24,
            num_class_tokens=1,
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
            crop=True,
            short_edge=256,
        ),
        # Small enough for a CPU: the recipe `real`. 64 tokens; the short edge stands to the crop as 256 to 224.
        "dinov2-small-patch14-112": Vision(
            weights="facebook/dinov2-small",
            image_size=112,
            patch_size=14,
            width=384,
            num_layers=12,
            num_class_tokens=1,
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
            crop=True,
            short_edge=128,
        ),
        # Mixture of features, interleaved: CLIP on even places, DINOv2 on odd ones; CLIP's processor for both. 512 tokens.
        # Source: arXiv 2401.06209, section 4.2; `mof` of the reference implementation. With DINOv3 it is our own: see
        # model/vision/mixture.py.
        "clip-dinov2-large-patch14-224": _clip_and("dinov2-large-patch14-224"),
        "clip-dinov3-large-patch14-224": _clip_and("dinov3-vitl16"),
    }
)
