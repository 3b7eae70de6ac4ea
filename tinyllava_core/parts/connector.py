"""The table of connectors: options, number of output tokens, number of parameters; one row each, exact keys. No torch here.

The classes are in model/connector.py and its siblings under the same keys; a test holds these numbers against their tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.parts.vision import Vision

ATTENTION_HEADS, HEAD_WIDTH = (
    8,
    64,
)  # of resampler and grid-queries. Source: `resampler` of the reference implementation
NUM_FREQUENCIES = 8  # of fourier-mlp, per axis: 2^0 pi ... 2^7 pi, up to a wave of two patches on a grid of 256
POOLED_BLOCKS = 2  # conv-abstractor has its blocks twice: in front of the pooling and behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All that decides a connector's tensors and its number of tokens: what a checkpoint remembers of it."""

    kind: str  # key of CONNECTORS
    vision_width: int
    language_width: int
    num_patches: int  # of one image, as they come in
    grid: int | None = None  # side of the square they lie on; None: they do not lie on one
    layers: int | None = None
    queries: int | None = None
    shrink: int | None = None  # side of a window that becomes one token, in patches
    hidden: int | None = None  # inner width
    norm: bool = False  # a layer norm in front of the MLP

    @property
    def num_tokens(self) -> int:
        """Tokens of one image that the language model reads."""
        return CONNECTORS[self.kind].tokens(self)

    @property
    def side(self) -> int | None:
        """Tokens on a side of the square that they lie on, in reading order; None where they do not lie on one."""
        row = CONNECTORS[self.kind]
        on_square = self.grid is not None and (row.queries is None or row.square_queries)
        return isqrt(self.num_tokens) if on_square else None

    @property
    def num_parameters(self) -> int:
        """Parameters of the connector."""
        return CONNECTORS[self.kind].parameters(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A connector: which options it has, with their defaults (None: it has none), and what it costs."""

    tokens: Callable[[Shape], int]
    parameters: Callable[[Shape], int]
    layers: int | None = None
    queries: int | None = None
    shrinks: bool = False
    hidden: int | None = None
    needs_grid: bool = False
    needs_mixture: bool = False
    square_queries: bool = False
    same_width: bool = False
    norms: bool = False  # may have a layer norm in front of its MLP


def _all(shape: Shape) -> int:
    return shape.num_patches


def _queries(shape: Shape) -> int:
    assert shape.queries is not None
    return shape.queries


def _windows(shape: Shape) -> int:
    assert shape.grid is not None
    assert shape.shrink is not None
    return (shape.grid // shape.shrink) ** 2


def mlp_parameters(width_in: int, width: int, layers: int | None) -> int:
    """Count an MLP of `layers` linear layers with biases, all but the first of them square."""
    assert layers is not None
    return width_in * width + width + (layers - 1) * (width * width + width)


def _mlp(shape: Shape) -> int:
    return mlp_parameters(shape.vision_width, shape.language_width, shape.layers)


def _shuffled(shape: Shape) -> int:
    assert shape.shrink is not None
    width_in = shape.vision_width * shape.shrink**2
    return mlp_parameters(width_in, shape.language_width, shape.layers) + 2 * width_in * shape.norm


def _shuffled_bare(shape: Shape) -> int:
    assert shape.shrink is not None
    return shape.vision_width * shape.shrink**2 * shape.language_width


def _fourier(shape: Shape) -> int:
    return mlp_parameters(shape.vision_width + 4 * NUM_FREQUENCIES, shape.language_width, shape.layers)


def _attention_blocks(shape: Shape) -> int:
    """Count a linear layer, blocks of cross-attention and feed-forward without biases, and a norm."""
    width, inner = shape.language_width, ATTENTION_HEADS * HEAD_WIDTH
    assert shape.layers is not None
    block = 3 * 2 * width + 4 * width * inner + 2 * width * 4 * width
    return shape.vision_width * width + width + shape.layers * block + 2 * width


def _resampler(shape: Shape) -> int:
    return _attention_blocks(shape) + _queries(shape) * shape.language_width


def _qformer(shape: Shape) -> int:
    hidden, layers = shape.hidden, shape.layers
    assert hidden is not None
    assert layers is not None
    norm, square = 2 * hidden, hidden * hidden + hidden
    block = 4 * square + norm + (2 * 4 * hidden * hidden + 5 * hidden) + norm
    crossing = 2 * square + 2 * (shape.vision_width * hidden + hidden) + norm
    total = layers * block + (layers + 1) // 2 * crossing + norm
    return total + _queries(shape) * hidden + mlp_parameters(hidden, shape.language_width, 1)


def _conv(shape: Shape) -> int:
    width = shape.vision_width
    assert shape.layers is not None
    block = 2 * width + 2 * (width * width + width) + 10 * width
    return POOLED_BLOCKS * shape.layers * block + mlp_parameters(width, shape.language_width, 2)


def _twice(shape: Shape) -> int:
    return 2 * _mlp(shape)


CONNECTORS: dict[str, Connector] = {
    # Source: arXiv 2310.03744 (LLaVA-1.5); `mlp2x_gelu` of the reference implementation, the paper's default.
    "mlp": Connector(tokens=_all, parameters=_mlp, layers=2),
    # Source: arXiv 2304.08485 (LLaVA), section 4.1.
    "linear": Connector(tokens=_all, parameters=lambda shape: mlp_parameters(shape.vision_width, shape.language_width, 1)),
    "identity": Connector(tokens=_all, parameters=lambda shape: 0, same_width=True),
    # Source: arXiv 2204.14198 (Flamingo), section 3.1.1; sizes of the reference implementation.
    "resampler": Connector(tokens=_queries, parameters=_resampler, layers=3, queries=128),
    # Source: arXiv 2301.12597 (BLIP-2), section 3.1; BERT-base's shape, 128 queries as in the reference implementation.
    "qformer": Connector(tokens=_queries, parameters=_qformer, layers=12, queries=128, hidden=768),
    # Source: arXiv 2401.06209 (interleaved mixture of features), section 4.2.
    "mixture-mlp": Connector(tokens=_all, parameters=_twice, layers=2, needs_mixture=True),
    # Source: arXiv 2404.16821 (InternVL 1.5), section 3.1: a window's patches side by side in the channels.
    "pixel-shuffle": Connector(tokens=_windows, parameters=_shuffled, layers=2, shrinks=True, needs_grid=True, norms=True),
    # Source: nanoVLM, models/modality_projector.py; transformers, Idefics3SimpleMLP: the same windows, one matrix without a bias.
    "pixel-shuffle-linear": Connector(tokens=_windows, parameters=_shuffled_bare, shrinks=True, needs_grid=True),
    # Source: arXiv 2405.20985 (DeCo): adaptive average pooling is enough of an abstractor.
    "average-pool": Connector(tokens=_windows, parameters=_mlp, layers=2, shrinks=True, needs_grid=True),
    # Source: arXiv 2312.06742 (Honeybee), section 4.1: convolutions, pooling, convolutions; blocks of our own, lighter than its.
    "conv-abstractor": Connector(
        tokens=_queries, parameters=_conv, layers=3, queries=144, needs_grid=True, square_queries=True
    ),
    # Source: arXiv 2407.02392 (TokenPacker): coarse queries look at fine features; the positions are our own.
    "grid-queries": Connector(
        tokens=_windows, parameters=_attention_blocks, layers=2, shrinks=True, needs_grid=True
    ),
    # Source: arXiv 2006.10739 (Fourier features), section 6, as input of an MLP; which frequencies is our own choice.
    "fourier-mlp": Connector(tokens=_all, parameters=_fourier, layers=2, needs_grid=True),
}  # fmt: skip


def connector_shape(
    kind: str,
    vision: Vision,
    language_width: int,
    *,
    layers: int | None,
    queries: int | None,
    shrink: int | None,
    norm: bool | None = None,
) -> Shape:
    """Resolve a connector's options against its row and the encoder it reads.

    Raises BadInput for an option that the row does not have, and for a combination that cannot be.
    """
    if kind not in CONNECTORS:
        raise unknown("connector", kind, CONNECTORS)
    row = CONNECTORS[kind]
    for option, given, has in (
        ("connector_layers", layers, row.layers is not None),
        ("connector_queries", queries, row.queries is not None),
        ("connector_shrink", shrink, row.shrinks),
        ("connector_norm", norm, row.norms),
    ):
        if given is not None and not has:
            raise BadInput(f"{option} = {given} has no effect on connector {kind!r}: remove it")
    if row.same_width and vision.width != language_width:
        raise BadInput(
            f"connector {kind!r} passes features on as they are, but they are {vision.width} wide and the language model reads "
            f"{language_width}: use linear or mlp"
        )
    if row.needs_mixture and not vision.mixture:
        raise BadInput(f"connector {kind!r} needs a mixture of two encoders, such as clip-dinov2-large-patch14-224")
    if row.needs_grid and vision.grid is None:
        raise BadInput(
            f"connector {kind!r} needs patches on a square; this encoder gives {vision.num_patches} that do not lie on one"
        )
    queries = row.queries if queries is None else queries
    if row.square_queries and queries is not None:
        _check_square(kind, queries, vision)
    return Shape(
        kind=kind,
        vision_width=vision.width,
        language_width=language_width,
        num_patches=vision.num_patches,
        grid=vision.grid,
        layers=row.layers if layers is None else layers,
        queries=queries,
        shrink=_shrink(shrink, vision) if row.shrinks else None,
        hidden=row.hidden,
        norm=bool(norm),
    )


def _check_square(kind: str, queries: int, vision: Vision) -> None:
    side = isqrt(queries)
    if side * side != queries or side > (vision.grid or 0):
        raise BadInput(
            f"connector_queries = {queries}: connector {kind!r} needs a square number of at most {vision.num_patches} queries"
        )


def _shrink(given: int | None, vision: Vision) -> int:
    assert vision.grid is not None
    fitting = [factor for factor in range(2, vision.grid + 1) if vision.grid % factor == 0]
    if given is None:
        return fitting[0]
    if given not in fitting:
        raise BadInput(
            f"connector_shrink = {given}: the encoder's grid has {vision.grid} patches a side; expected one of {fitting}"
        )
    return given
