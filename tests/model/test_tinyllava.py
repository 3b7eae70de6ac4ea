"""The model against transformers' own class, against itself one record at a time, and against its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import png
from transformers import LlavaForConditionalGeneration

from tinyllava_core.checkpoints import card_of
from tinyllava_core.data.inspect.decode import decode
from tinyllava_core.data.plan.prompt import IGNORE, encode
from tinyllava_core.data.record.record import Turn
from tinyllava_core.data.tensors.example import blank, fit, join, normalise
from tinyllava_core.errors import BadInput
from tinyllava_core.model import checkpoint
from tinyllava_core.model.assemble import assemble
from tinyllava_core.model.foreign.importer import main as import_main
from tinyllava_core.model.records import Layout
from tinyllava_core.model.tinyllava import TinyLlava, part_of, splice
from tinyllava_core.parts import VISIONS
from tinyllava_core.settings.model import Model
from tinyllava_core.tokenizer import load_tokenizer

QUESTIONS = [
    ("<image>\nwhat colour is the cat?", "red"),
    ("how many dogs?", "2"),
    ("<image>\n<image>\nsame?", "no it is not"),
]


def packed(tiny_parts: Path, which: list[int]) -> tuple[torch.Tensor, ...]:
    tokenizer = load_tokenizer(tiny_parts / "language")
    turns = [[Turn(role="user", text=QUESTIONS[i][0]), Turn(role="assistant", text=QUESTIONS[i][1])] for i in which]
    records = encode(turns, "short", tokenizer, 9)
    images = [
        fit(decode(png(10 * i + k)), VISIONS["tiny"], "square")[None]
        for i in which
        for k in range(QUESTIONS[i][0].count("<image>"))
    ]
    pack = join(records, images, 24)
    keep = torch.cat([pack.labels_T[1:] != IGNORE, torch.zeros(1, dtype=torch.bool)])
    return pack.ids_T, pack.position_T, pack.record_T, normalise(pack.pixels_N3HW, VISIONS["tiny"]), keep


def logits_of(model: TinyLlava, *pack: torch.Tensor) -> torch.Tensor:
    ids, position, record, pixels, keep = pack
    layout = Layout.of(ids, record, ids, model.config.image_token_id)
    return model.lm_head(model._hidden(ids, position, pixels, layout)[keep])


def test_a_pack_of_records_gives_the_logits_of_each_record_alone(tiny_model: TinyLlava, tiny_parts: Path) -> None:
    together = logits_of(tiny_model, *packed(tiny_parts, [0, 1, 2]))
    alone = torch.cat([logits_of(tiny_model, *packed(tiny_parts, [which])) for which in range(3)])
    assert together.shape == alone.shape
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_logits_equal_those_of_transformers_own_llava(
    tiny_model: TinyLlava, tiny_choice: Model, tiny_parts: Path, tmp_path: Path
) -> None:
    checkpoint.save(tiny_model, tiny_choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32).eval()
    for which in range(3):
        ids, position, record, images, keep = packed(tiny_parts, [which])
        with torch.no_grad():
            expected = theirs(input_ids=ids[None], pixel_values=images if len(images) else None).logits[0, keep]
            found = logits_of(tiny_model, ids, position, record, images, keep)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_comes_back_bit_for_bit_and_says_what_it_is(
    tiny_model: TinyLlava, tiny_choice: Model, tiny_parts: Path, tmp_path: Path
) -> None:
    checkpoint.save(tiny_model, tiny_choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    loaded = checkpoint.load(tmp_path / "checkpoint")
    before, after = tiny_model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (loaded.prompt, loaded.image_mode, loaded.vision) == ("short", "square", VISIONS["tiny"])
    assert load_tokenizer(tmp_path / "checkpoint").encode("red cat") == load_tokenizer(tiny_parts / "language").encode(
        "red cat"
    )
    assert json.loads((tmp_path / "checkpoint" / "config.json").read_text())["model_type"] == "llava"
    prefixes = {
        name.split(".layers.")[0].rsplit(".weight")[0]
        for name in load_file(tmp_path / "checkpoint" / "model.safetensors")
    }
    assert {
        "language_model.lm_head",
        "language_model.model",
        "multi_modal_projector.linear_1",
        "vision_tower.vision_model.encoder",
    } <= prefixes


def test_a_connector_that_transformers_cannot_hold_is_not_called_llava(tiny_parts: Path, tmp_path: Path) -> None:
    choice = Model(vision="tiny", language="tiny", connector_layers=3)
    model = assemble(choice, seed=1)
    checkpoint.save(model, choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    assert json.loads((tmp_path / "checkpoint" / "config.json").read_text())["model_type"] == "tinyllava"
    again = checkpoint.load(tmp_path / "checkpoint").model
    images = normalise(torch.stack([blank(VISIONS["tiny"])]), VISIONS["tiny"])
    assert torch.equal(model.eval().image_tokens(images), again.image_tokens(images))


def test_a_folder_that_is_no_checkpoint_or_a_newer_one_is_one_clear_error(
    tiny_model: TinyLlava, tiny_choice: Model, tiny_parts: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"not a checkpoint of this package \(no tinyllava\.json\)"):
        checkpoint.load(tmp_path)
    checkpoint.save(tiny_model, tiny_choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    card = json.loads((tmp_path / "checkpoint" / "tinyllava.json").read_text())
    (tmp_path / "checkpoint" / "tinyllava.json").write_text(json.dumps(card | {"schema": 99}))
    with pytest.raises(BadInput, match="checkpoint schema 99, this version reads 2"):
        checkpoint.load(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tinyllava.json", b"[]"),
        ("tinyllava.json", b""),
        ("tinyllava.json", b"{}"),
        ("config.json", b""),
        ("model.safetensors", b"junk"),
        ("model.safetensors", (2**60).to_bytes(8, "little") + b"{}"),
    ],
)
def test_a_checkpoint_that_was_copied_by_half_is_one_line(
    name: str, data: bytes, tiny_model: TinyLlava, tiny_choice: Model, tiny_parts: Path, tmp_path: Path
) -> None:
    checkpoint.save(tiny_model, tiny_choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / name).write_bytes(data)
    with pytest.raises(BadInput, match=r"cannot be read: .*; is it whole") as told:
        checkpoint.load(tmp_path / "checkpoint")
    assert "\n" not in str(told.value)
    if name == "tinyllava.json":
        with pytest.raises(BadInput, match=r"cannot be read: .*; is it whole"):
            card_of(tmp_path / "checkpoint")


def test_an_encoder_reads_the_layer_the_recipe_names(tiny_model: TinyLlava) -> None:
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    vision = tiny_model.model.vision_tower
    with torch.no_grad():
        hidden = vision(images, output_hidden_states=True).hidden_states
        assert len(hidden) == 4  # embeddings and three blocks
        found = tiny_model.image_tokens(images)
        assert torch.equal(found, tiny_model.model.multi_modal_projector(hidden[2]))
    assert found.shape == (2, 9, 24)


def test_blocks_behind_the_one_that_is_read_are_not_run(tiny_model: TinyLlava) -> None:
    vision, ran = tiny_model.model.vision_tower, []
    for number, block in enumerate(vision.encoder.layers):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    tiny_model.image_tokens(torch.zeros(1, 3, 24, 24))
    assert ran == [0, 1]  # of three: layer -2 is read
    assert len(vision.encoder.layers) == 3


def test_the_same_seed_gives_the_same_connector_and_another_another(tiny_choice: Model) -> None:
    one, two, other = (assemble(tiny_choice, seed=seed).state_dict() for seed in (3, 3, 4))
    moved = {part_of(name) for name in one if not torch.equal(one[name], other[name])}
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert moved == {"connector"}


def test_image_tokens_and_marked_places_must_agree() -> None:
    text, image = torch.zeros(1, 4, 2), torch.ones(1, 2, 2)
    marked = torch.tensor([[False, True, True, False]])
    assert splice(text, image, marked)[0].tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]
    with pytest.raises(ValueError, match=r"3 places are marked as image tokens, but 2 were given"):
        splice(text, image, torch.tensor([[True, True, True, False]]))


def test_a_text_only_pack_has_the_trained_parts_in_its_graph(tiny_model: TinyLlava, tiny_parts: Path) -> None:
    for parameter in tiny_model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    logits = logits_of(tiny_model, *packed(tiny_parts, [1]))
    logits.sum().backward()
    for name, parameter in tiny_model.named_parameters():
        if part_of(name) == "connector":
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name
        if part_of(name) == "vision":
            assert parameter.grad is None, name


def test_generation_with_and_without_cache_is_the_same(tiny_model: TinyLlava, tiny_parts: Path) -> None:
    ids, *_, images, _ = packed(tiny_parts, [0])
    common = {
        "input_ids": ids[None],
        "pixel_values": images,
        "max_new_tokens": 8,
        "do_sample": False,
        "suppress_tokens": [2],
    }
    with torch.no_grad():
        assert torch.equal(
            tiny_model.generate(**common, use_cache=True), tiny_model.generate(**common, use_cache=False)
        )


def test_a_checkpoint_in_half_precision_keeps_its_rotary_frequencies_exact(
    tiny_model: TinyLlava, tiny_choice: Model, tiny_parts: Path, tmp_path: Path
) -> None:
    checkpoint.save(tiny_model, tiny_choice, "short", tiny_parts / "language", tmp_path / "checkpoint")
    half = checkpoint.load(tmp_path / "checkpoint", precision="bf16").model
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    width = tiny_model.config.text_config.hidden_size // 2  # two heads
    exact = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    torch.testing.assert_close(half.model.language_model.rotary_emb.inv_freq.double(), exact, atol=0, rtol=1e-6)


def test_a_folder_with_anything_in_it_is_not_imported_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that it held was removed, without a word."""
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "thesis.txt").write_text("thesis")
    assert import_main([str(tmp_path / "elsewhere"), "--out", str(tmp_path / "models")]) == 2
    assert (
        capsys.readouterr().err == f"error: {tmp_path / 'models'}: is there already; name another folder with --out\n"
    )
    with pytest.raises(BadInput, match="models: is there already, and is no checkpoint; name another folder"):
        checkpoint.check_place(tmp_path / "models")
    assert (tmp_path / "models" / "mine" / "thesis.txt").read_text() == "thesis"
