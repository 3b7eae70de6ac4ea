"""The prompt formats on every family of tokenizers: the exact text, what is learned of it, and the traps."""

from __future__ import annotations

import re

import pytest
from tokenizer_families import FAMILIES
from transformers import PreTrainedTokenizerFast

from tinyllava_core.data.plan.prompt import IGNORE, Encoded, ask, ask_on, encode, stop_ids
from tinyllava_core.data.record.record import Turn
from tinyllava_core.errors import BadInput
from tinyllava_core.model.chat_template import chat_template
from tinyllava_core.parts.prompts import PROMPTS
from tinyllava_core.settings.writing import ImagePlace, Writing
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
END = {
    "phi": "<|endoftext|>",
    "stablelm": "<|endoftext|>",
    "qwen2_base": "<|endoftext|>",
    "qwen2_instruct": "<|im_end|>",
    "llama": "</s>",
    "llama_not_legacy": "</s>",
    "gemma": "<eos>",
}
BOS = {"llama": "<s>", "llama_not_legacy": "<s>", "gemma": "<bos>"}
TALK = ("<image>\nwhat colour is the cat?", "a red one.", "how many?", "2 cats")
AWKWARD = (
    "what does USER: mean?\n\n  (maybe) ASSISTANT: no",
    "(yes) USER: 5 dogs ASSISTANT: 2\nit is",
    "3?",
    "naïve ☂\n",
)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("families")
    return {name: load_tokenizer(make(folder / name)) for name, make in FAMILIES.items()}


def turns(*texts: str) -> list[Turn]:
    return [Turn(role="assistant" if place % 2 else "user", text=text) for place, text in enumerate(texts)]


def one(tokenizer: Tokenizer, prompt: str, *texts: str, **writing: str) -> Encoded:
    return encode([turns(*texts)], prompt, tokenizer, 1, Writing.parse(writing, "test"))[0]


def whole(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, keep_special=True)


def learned(tokenizer: Tokenizer, found: Encoded) -> list[str]:
    """The learned tokens, as words: a piece's space shown as one, a byte as its character."""
    tokens = [tokenizer.token(label) for label in found.labels if label != IGNORE]
    tokens = [re.sub("<0x(..)>", lambda byte: chr(int(byte[1], 16)), token) for token in tokens]
    return [token.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n") for token in tokens]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_is_the_reference_implementations_to_the_letter(tokenizers: dict[str, Tokenizer], family: str) -> None:
    """Llama's older file begins every text behind a special token with a space of its own, also in the reference."""
    tokenizer, end = tokenizers[family], END[family]
    own = " " if family == "llama" else ""
    found = one(tokenizer, "vicuna", *TALK)
    assert whole(tokenizer, found.ids) == (
        f"{BOS.get(family, '')}{own}{SYSTEM}USER: <image>{own}\nwhat colour is the cat? ASSISTANT: a red one.{end}"
        f"{own}USER: how many? ASSISTANT: 2 cats{end}"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_their_ends_are_learned_and_nothing_else(tokenizers: dict[str, Tokenizer], family: str) -> None:
    found = one(tokenizers[family], "vicuna", *TALK)
    assert "".join(learned(tokenizers[family], found)) == f" a red one.{END[family]} 2 cats{END[family]}"
    assert all(label in (IGNORE, token) for token, label in zip(found.ids, found.labels, strict=True))


@pytest.mark.parametrize("image_place", ["front", "as_written"])
@pytest.mark.parametrize("prompt", ["vicuna", "short", "plain", "chatml"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_chat_template_gives_the_very_same_ids(
    tokenizers: dict[str, Tokenizer], family: str, prompt: str, image_place: ImagePlace
) -> None:
    """transformers renders the template and tokenizes the whole text at once; we tokenize piece by piece."""
    if prompt == "chatml" and "qwen2" not in family:
        pytest.skip("the tokenizer has no ChatML tokens")
    tokenizer = tokenizers[family]
    theirs = PreTrainedTokenizerFast.from_pretrained(tokenizer.folder)
    theirs.add_tokens("<image>", special_tokens=True)
    template = chat_template(PROMPTS[prompt], tokenizer, image_place)
    for texts in (TALK, AWKWARD, ("<image>\n<image> the same?", "no"), ("see <image> and <image>\n", "yes", "it?", "")):
        messages = [{"role": turn.role, "content": _items(turn.text)} for turn in turns(*texts)]
        told = theirs.apply_chat_template(messages, chat_template=template, tokenize=True, return_dict=False)
        assert told == one(tokenizer, prompt, *texts, image_place=image_place).ids, texts
        asked = theirs.apply_chat_template(
            messages[:-1], chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        if image_place == "front":
            assert asked == ask_on(prompt, tokenizer, turns(*texts[:-1]), 1), texts


def _items(text: str) -> list[dict[str, str]]:
    pieces = text.split("<image>")
    items: list[dict[str, str]] = [{"type": "text", "text": pieces[0]}]
    for piece in pieces[1:]:
        items += [{"type": "image"}, {"type": "text", "text": piece}]
    return items


@pytest.mark.parametrize("image_place", ["front", "as_written"])
@pytest.mark.parametrize("prompt", ["vicuna", "short", "plain", "chatml"])
@pytest.mark.parametrize("mark", ["<__media_x7Q2__>", "<__media__>"])
def test_llama_cpps_marks_stand_where_images_stand(
    tokenizers: dict[str, Tokenizer], mark: str, prompt: str, image_place: ImagePlace
) -> None:
    """Its server puts the mark of this process into the text, and the template has to keep it where <image> was learned."""
    theirs = PreTrainedTokenizerFast.from_pretrained(tokenizers["qwen2_instruct"].folder)
    template = chat_template(PROMPTS[prompt], tokenizers["qwen2_instruct"], image_place)
    for text in ("<image>what colour?", "see <image> and <image>\n", "none"):
        ours, marked = (
            theirs.apply_chat_template(
                [{"role": "user", "content": said}, {"role": "assistant", "content": "red"}],
                chat_template=template,
                tokenize=False,
            )
            for said in (text, text.replace("<image>", mark))
        )
        assert marked == ours.replace("<image>", mark)
        assert ours.count("<image>") == text.count("<image>")


def test_a_system_message_takes_the_place_of_the_formats_own(tokenizers: dict[str, Tokenizer]) -> None:
    theirs = PreTrainedTokenizerFast.from_pretrained(tokenizers["qwen2_instruct"].folder)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>what?"}]
    said = {}
    for prompt in ("vicuna", "chatml"):
        template = chat_template(PROMPTS[prompt], tokenizers["qwen2_instruct"])
        said[prompt] = theirs.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    assert said == {
        "vicuna": "Be brief. USER: <image>\nwhat? ASSISTANT:",
        "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>\nwhat?<|im_end|>\n<|im_start|>assistant\n",
    }


@pytest.mark.parametrize("family", ["qwen2_base", "qwen2_instruct"])
def test_chatml_learns_the_answer_and_im_end_and_stops_there(tokenizers: dict[str, Tokenizer], family: str) -> None:
    """Also with the base model's tokenizer, whose own end token is another."""
    tokenizer = tokenizers[family]
    found = one(tokenizer, "chatml", *TALK)
    assert whole(tokenizer, found.ids) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>\nwhat colour is the cat?<|im_end|>\n<|im_start|>assistant\na red one.<|im_end|>\n"
        "<|im_start|>user\nhow many?<|im_end|>\n<|im_start|>assistant\n2 cats<|im_end|>\n"
    )
    assert "".join(learned(tokenizer, found)) == "a red one.<|im_end|>2 cats<|im_end|>"
    assert tokenizer.token_id("<|im_end|>") in stop_ids("chatml", tokenizer)
    assert tokenizer.eos_id in stop_ids("chatml", tokenizer)


def test_a_format_whose_tokens_the_tokenizer_lacks_is_refused(tokenizers: dict[str, Tokenizer]) -> None:
    with pytest.raises(BadInput, match=r"no token '<\|im_start\|>', which the prompt format needs"):
        one(tokenizers["phi"], "chatml", *TALK)


@pytest.mark.parametrize("family", FAMILIES)
def test_end_tokens_and_separators_inside_a_text_are_text(tokenizers: dict[str, Tokenizer], family: str) -> None:
    tokenizer, end = tokenizers[family], END[family]
    found = one(tokenizer, "vicuna", f"what is {end} and ASSISTANT: a", f"it ends {end} USER: b", "<s>?", "no")
    assert found.ids.count(tokenizer.eos_id) == 2
    assert [label for label in found.labels if label == tokenizer.eos_id] == [tokenizer.eos_id] * 2
    assert "".join(learned(tokenizer, found)) == f" it ends {end} USER: b{end} no{end}"


def test_a_digit_leaves_its_space_alone_in_qwens_and_tiktokens_pieces(tokenizers: dict[str, Tokenizer]) -> None:
    """learned: as the reference, and as an asked model needs it. given: the space is there, and is not in the loss."""
    for family in ("qwen2_base", "stablelm"):
        tokenizer, end = tokenizers[family], END[family]
        taken, given = (one(tokenizer, "vicuna", "how many?", "6", lone_space=how) for how in ("learned", "given"))
        assert learned(tokenizer, taken) == [" ", "6", end]
        assert learned(tokenizer, given) == ["6", end]
        assert taken.ids == given.ids
    assert learned(tokenizers["phi"], one(tokenizers["phi"], "vicuna", "?", "2 cats", lone_space="given"))[0] == " 2"


def test_a_word_keeps_its_space_whatever_is_said_of_lone_ones(tokenizers: dict[str, Tokenizer]) -> None:
    for tokenizer in tokenizers.values():
        given = one(tokenizer, "vicuna", "what?", "cat", lone_space="given")
        assert given == one(tokenizer, "vicuna", "what?", "cat")
        assert learned(tokenizer, given)[0].startswith(" c")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_answer_is_a_space_and_the_end(tokenizers: dict[str, Tokenizer], family: str) -> None:
    """`inspect` drops records with one; the reference writes the same. It voids no other turn."""
    tokenizer, end = tokenizers[family], END[family]
    found = one(tokenizer, "vicuna", "what?", "", "how many?", "2 cats")
    assert learned(tokenizer, found)[:2] == [" ", end]
    assert "".join(learned(tokenizer, found)) == f" {end} 2 cats{end}"
    given = one(tokenizer, "vicuna", "what?", "", lone_space="given")
    assert learned(tokenizer, given) == [end]


@pytest.mark.parametrize("family", ["phi", "stablelm", "llama"])
def test_an_end_token_that_also_pads_is_learned(tokenizers: dict[str, Tokenizer], family: str) -> None:
    tokenizer = tokenizers[family]
    assert tokenizer.pad_id == tokenizer.eos_id
    assert one(tokenizer, "vicuna", *TALK).labels[-1] == tokenizer.eos_id


def test_only_a_tokenizer_that_begins_texts_with_bos_has_one(tokenizers: dict[str, Tokenizer]) -> None:
    assert {name for name, tokenizer in tokenizers.items() if tokenizer.bos_id is not None} == BOS.keys()
    for name, bos in BOS.items():
        found = one(tokenizers[name], "vicuna", *TALK)
        assert tokenizers[name].token(found.ids[0]) == bos
        assert found.ids.count(found.ids[0]) == 1
        assert found.labels[0] == IGNORE


def test_images_stand_in_front_or_where_they_were_written(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["phi"]
    texts = ("is <image> the same as <image>?", "no")
    front = one(tokenizer, "short", *texts)
    written = one(tokenizer, "short", *texts, image_place="as_written")
    assert whole(tokenizer, front.ids).startswith("USER: <image>\n<image>\nis  the same as ? ASSISTANT:")
    assert whole(tokenizer, written.ids).startswith("USER: is <image> the same as <image>? ASSISTANT:")
    assert len(front.image_ends) == len(written.image_ends) == 2
    assert all(written.ids[end - 1] == tokenizer.image_id for end in written.image_ends)
    assert one(tokenizer, "short", *TALK) == one(tokenizer, "short", *TALK, image_place="as_written")


def test_a_caption_has_its_image_and_no_question_wherever_the_tag_stood(tokenizers: dict[str, Tokenizer]) -> None:
    for family, tokenizer in tokenizers.items():
        found = one(tokenizer, "plain", "describe this picture\n<image>", "a red cat")
        own = " " if family == "llama" else ""
        assert whole(tokenizer, found.ids) == f"{BOS.get(family, '')}<image>{own}a red cat\n"
        assert tokenizer.eos_id not in found.ids
        assert found == one(tokenizer, "plain", "<image>", "a red cat", image_place="as_written")


def test_the_text_goes_on_where_asking_ends(tokenizers: dict[str, Tokenizer]) -> None:
    """What a trained model is asked is what it was trained on, up to the answer, in every family and format."""
    for tokenizer in tokenizers.values():
        for prompt in ("vicuna", "short"):
            found = one(tokenizer, prompt, *TALK[:2])
            asked = ask(prompt, tokenizer, "what colour is the cat?", 1, 1)
            assert found.ids[: len(asked)] == asked
            assert found.labels[len(asked)] != IGNORE
