"""The tables of parts: tokens of an image, options of a connector, and what is said where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.parts import VISIONS, language_row, prompt_of
from tinyllava_core.settings.model import Model


@pytest.mark.parametrize(
    ("vision", "tokens"),
    [
        ("clip-vit-large-patch14-336", 576),
        ("clip-vit-large-patch14-224", 256),
        ("siglip-so400m-patch14-384", 729),
        ("siglip-so400m-patch14-384-728", 728),
        ("siglip2-so400m-patch14-384", 729),
        ("dinov2-large-patch14-224", 256),
        ("dinov2-small-patch14-112", 64),
        ("clip-dinov2-large-patch14-224", 512),
        ("clip-dinov3-large-patch14-224", 512),
        ("siglip2-base-patch16-naflex", 256),
        ("aimv2-large-patch14-336", 576),
    ],
)
def test_every_encoder_declares_its_number_of_image_tokens(vision: str, tokens: int) -> None:
    assert VISIONS[vision].num_patches == tokens
    assert Model(vision=vision, language="phi-2").tokens_per_image == tokens


@pytest.mark.parametrize(
    ("connector", "options", "tokens"),
    [
        ("linear", {}, 576),
        ("resampler", {}, 128),
        ("qformer", {"connector_queries": 32}, 32),
        ("pixel-shuffle", {}, 144),
        ("pixel-shuffle", {"connector_shrink": 4}, 36),
        ("average-pool", {"connector_shrink": 3}, 64),
        ("conv-abstractor", {}, 144),
        ("grid-queries", {}, 144),
        ("fourier-mlp", {"connector_layers": 3}, 576),
    ],
)
def test_every_connector_declares_its_number_of_image_tokens(
    connector: str, options: dict[str, int], tokens: int
) -> None:
    model = Model(vision="clip-vit-large-patch14-336", language="phi-2", connector=connector, **options)
    assert model.tokens_per_image == tokens


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"connector": "linear", "connector_layers": 2}, "connector_layers = 2 has no effect on connector 'linear'"),
        ({"connector": "mlp", "connector_norm": True}, "connector_norm = True has no effect on connector 'mlp'"),
        ({"connector": "mlp", "connector_queries": 9}, "connector_queries = 9 has no effect on connector 'mlp'"),
        ({"connector": "identity"}, "they are 1152 wide and the language model reads 2560"),
        ({"connector": "mixture-mlp"}, "needs a mixture of two encoders"),
        ({"connector": "pixel-shuffle", "connector_shrink": 2}, r"27 patches a side; expected one of \[3, 9, 27\]"),
        (
            {"connector": "conv-abstractor", "connector_queries": 100, "vision": "toy-vit"},
            "square number of at most 36",
        ),
        ({"connector": "average-pool", "vision": "siglip-so400m-patch14-384-728"}, "728 that do not lie on one"),
        ({"vision_layer": -28}, r"the encoder has 27 layers; expected -27 \.\. -1"),
        ({"language": "phi-3"}, "unknown language model 'phi-3'; nearest: 'phi-2'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(settings: dict[str, object], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        Model.parse({"vision": "siglip-so400m-patch14-384", "language": "phi-2"} | settings, "test")


def test_a_language_model_may_be_a_folder_if_its_class_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with pytest.raises(BadInput, match=r"no config\.json there"):
        language_row(str(folder))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hidden_size": 64, "num_hidden_layers": 3}))
    row = language_row(str(folder))
    assert (row.width, row.num_layers) == (64, 3)
    assert prompt_of("vicuna", row) == "vicuna"
    with pytest.raises(BadInput, match="set the stage's `prompt`"):
        prompt_of(None, row)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 64, "num_hidden_layers": 3, "auto_map": {}}))
    with pytest.raises(BadInput, match="brings its own code"):
        language_row(str(folder))
