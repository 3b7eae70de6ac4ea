"""The plug-in for lmms-eval, with a stand-in of the two classes of it that it needs: installing it would replace torch."""

from __future__ import annotations

import importlib
import io
import sys
import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import ANY_SIZE, Answerer, Asked

MODULE = "tinyllava_core.evaluate.answer.lmms_eval"
MOST = 12


@dataclass(frozen=True)
class ModelManifest:
    """As lmms-eval 0.7 has it (models/registry_v2.py)."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class Lmms:
    """As lmms-eval 0.7 has it (api/model.py), as far as a model sees it."""

    is_simple = True

    def __init__(self) -> None:
        self.task_dict: dict[str, Any] = {}


@dataclass
class Instance:
    args: tuple[Any, ...]


@pytest.fixture(scope="module")
def plug_in() -> Iterator[types.ModuleType]:
    names = ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model", "lmms_eval.models", "lmms_eval.models.registry_v2")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules["lmms_eval.api.model"].lmms = Lmms  # type: ignore[attr-defined]
        sys.modules["lmms_eval.models.registry_v2"].ModelManifest = ModelManifest  # type: ignore[attr-defined]
        yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.fixture(scope="module")
def model(plug_in: types.ModuleType, checkpoint_folder: Path, images: Path) -> Any:
    made = plug_in.TinyLlavaPipelines(
        str(checkpoint_folder.parent), batch_size="2", device="cpu", precision="fp32", max_new_tokens=str(MOST)
    )
    made.task_dict["t"] = {
        "test": [[Image.open(images / f"{place}.png") for place in range(many)] for many in (1, 0, 2)]
    }
    return made


def request(doc: int, text: str, **settings: Any) -> Instance:
    return Instance((text, settings, lambda shown: shown, doc, "t", "test"))


def test_the_entry_point_names_the_manifest_and_the_manifest_the_class(plug_in: types.ModuleType) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    (target,) = project["entry-points"]["lmms_eval.models"].values()
    assert target == f"{MODULE}:manifest"
    told = plug_in.manifest()
    assert told.simple_class_path == f"{MODULE}.TinyLlavaPipelines"
    assert plug_in.TinyLlavaPipelines.is_simple


def test_it_answers_as_the_answerer_does_in_the_order_of_the_requests(
    model: Any, checkpoint_folder: Path, images: Path
) -> None:
    answerer = Answerer(checkpoint_folder)
    texts = ["is it red?", "what is written on the sign in the picture?", "yes or no"]
    expected = []
    for text, many in zip(texts, (1, 0, 2), strict=True):
        pictures = tuple(answerer.picture(images / f"{place}.png") for place in range(many))
        asked = Asked(ids=answerer.ids(text, sizes=[ANY_SIZE] * many), pictures=pictures)
        expected += answerer.answer([asked], MOST)
    greedy = {"temperature": 0, "do_sample": False, "num_beams": 1}
    assert model.generate_until([request(doc, text, **greedy) for doc, text in enumerate(texts)]) == expected
    assert model.generate_until([request(0, f"<image>\n{texts[0]}")]) == expected[:1]


def test_an_answer_ends_where_the_task_says(model: Any) -> None:
    (whole,) = model.generate_until([request(1, "yes or no")])
    (cut,) = model.generate_until([request(1, "yes or no", until=[whole[3:5]])])
    assert cut == whole.split(whole[3:5])[0].strip() != whole


def test_what_it_cannot_do_is_said(plug_in: types.ModuleType, model: Any, checkpoint_folder: Path) -> None:
    with pytest.raises(BadInput, match=r"t: temperature = 0\.7; tinyllava_pipelines answers greedily only"):
        model.generate_until([request(0, "is it?", temperature=0.7)])
    model.task_dict["t"]["video"] = [["a.mp4"]]
    with pytest.raises(BadInput, match="a str among the task's visuals"):
        model.generate_until([Instance(("is it?", {}, lambda shown: shown, 0, "t", "video"))])
    for refused in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(NotImplementedError, match="output_type generate_until"):
            refused([])
    with pytest.raises(BadInput, match="--model_args: unknown conv_mode; known: pretrained, "):
        plug_in.TinyLlavaPipelines(str(checkpoint_folder), conv_mode="phi")
    with pytest.raises(BadInput, match="--batch_size auto: expected a number"):
        plug_in.TinyLlavaPipelines(str(checkpoint_folder), batch_size="auto")


def test_a_picture_reaches_the_model_without_loss(plug_in: types.ModuleType, images: Path) -> None:
    with Image.open(images / "0.png") as shown, Image.open(io.BytesIO(plug_in._png(shown))) as again:
        assert again.tobytes() == shown.tobytes()
