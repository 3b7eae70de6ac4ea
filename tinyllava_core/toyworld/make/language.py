"""The toy world's language model and tokenizer: a small Llama, taught to read scenes that are told as bags of words. It sees no picture."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tinyllava_core.data.plan import prompt
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.parts import LANGUAGES, VISIONS
from tinyllava_core.parts.prompts import PROMPTS
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer
from tinyllava_core.toyworld import scene as world
from tinyllava_core.toyworld.font import CHARACTERS
from tinyllava_core.toyworld.make.steps import schedule, take_step
from tinyllava_core.toyworld.make.vision import SEED, patch_classes
from tinyllava_core.toyworld.scene import Scene, make_scene
from tinyllava_core.toyworld.text import OPEN_KINDS, SHORT_ANSWER, ask_many, caption, retell

LANGUAGE_STEPS, LANGUAGE_BATCH, LANGUAGE_LR = 4300, 8, 1.5e-3
EASY_STEPS = 500  # with at most three shapes
NUM_CAPTIONS, NUM_QUESTIONS = 2, 10  # captions of a batch; questions of each other talk
MATRIX_STD = 0.088  # 1 / sqrt(width): with Llama's 0.02 the circuit that looks things up forms late
BLUR = 0.2  # of an embedding's standard deviation
VOCABULARY = 768


def make_language(out: Path, num_steps: int) -> None:
    """Train tokenizer and language model and save them."""
    make_tokenizer(out)
    tokenizer = load_tokenizer(out)
    torch.manual_seed(SEED)
    model = new_language(tokenizer)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=LANGUAGE_LR, betas=(0.9, 0.98), weight_decay=0.01)
    words = Words(tokenizer)
    for step in schedule(optimizer, num_steps, "language"):
        readings = [
            read_about(step * LANGUAGE_BATCH + place, easy=step < EASY_STEPS) for place in range(LANGUAGE_BATCH)
        ]
        ids_BT, labels_BT = _batch(tokenizer, readings)
        bags_BPW = torch.stack([words.bags(scene) for scene, _ in readings])
        embedded_BTD = _embed(model, ids_BT, bags_BPW, tokenizer.image_id)
        take_step(optimizer, model(inputs_embeds=embedded_BTD, labels=labels_BT).loss, parameters, step)
    model.half().save_pretrained(out)


def new_language(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """Set a language model up so that it learns to look things up in hundreds of steps, not thousands.

    Source: Trockman and Kolter 2023 for queries and keys that start near the identity; the rest was tried.
    """
    row = LANGUAGES["toy-llama"]
    config = LlamaConfig(
        vocab_size=tokenizer.size,
        hidden_size=row.width,
        intermediate_size=3 * row.width,
        num_hidden_layers=row.num_layers,
        num_attention_heads=4,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 1.0e6},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(std=0.1)
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for linear in (attention.q_proj, attention.k_proj):
                linear.weight.add_(0.7 * torch.eye(row.width))
            for linear in (attention.v_proj, attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj):
                linear.weight.mul_(MATRIX_STD / config.initializer_range)
    return model


def make_tokenizer(out: Path) -> None:
    """Train a byte-level BPE tokenizer on the toy world's texts and save it; any string can be written with it.

    Printed capitals and digits are tokens of their own, so that reading is spelling.
    """
    tokenizer = RustTokenizer(models.BPE())
    words = Regex(r" ?USER:| ?ASSISTANT:| ?[A-Z]?[a-z]+| ?[A-Z]| ?[0-9]|\s+| ?[^\sA-Za-z0-9]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    out.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=2048,
        padding_side="right",
    ).save_pretrained(out)


def _texts() -> Iterator[str]:
    row = PROMPTS["short"]
    for index in range(3000):
        scene, turns = read_about(index)
        yield "".join(
            f"{row.user}{turn.text}{row.assistant}" if turn.role == "user" else row.answer.format(answer=turn.text)
            for turn in turns
        )
        yield f"{caption(scene)}\n"
        yield f" {retell(scene, random.Random(index))}\n"
    for _ in range(30):
        yield _ENGLISH


def read_about(index: int, easy: bool = False) -> tuple[Scene, list[Turn]]:
    """Make scene `index` and a talk about it, longer than those of sft. `easy`: fewer shapes, to begin with."""
    rng = random.Random(f"backbone-language/text/{index}")
    scene = make_scene("backbone-language", index, max_shapes=3 if easy else 4, printed=rng.random() < 0.6)
    if scene.printed and rng.random() < 0.6:
        letters = rng.choices(
            string.digits if scene.printed.is_number else string.ascii_uppercase, k=len(scene.printed.text)
        )
        scene = replace(scene, printed=replace(scene.printed, text="".join(letters)))
    kinds = [*OPEN_KINDS, *OPEN_KINDS]
    rng.shuffle(kinds)
    questions = ask_many(scene, ["existence"] * rng.choice((0, 3, 5)) + kinds, rng)[:NUM_QUESTIONS]
    suffix = SHORT_ANSWER if rng.random() < 0.5 else ""
    turns = []
    for place, question in enumerate(questions):
        text = f"{IMAGE_TAG}\n{question.text}{suffix}" if place == 0 else question.text
        turns += [Turn(role="user", text=text), Turn(role="assistant", text=question.answer)]
    return scene, turns


class Words:
    """Tells a scene as bags of words: for each patch of a picture of it, the words that are true there, in no order."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        def word(text: str) -> int:
            return tokenizer.encode(f" {text}")[0]

        self.kinds = [word("nothing"), *(word(kind) for kind in world.KINDS)]
        self.colours = [word(colour) for colour in world.COLOURS]
        self.sizes = [word(size) for size in world.SIZES]
        self.characters = [(tokenizer.encode(c)[0], word(c)) for c in CHARACTERS]
        self.rows, self.columns = [word(row) for row in world.ROWS], [word(column) for column in world.COLUMNS]

    def bags(self, scene: Scene) -> Tensor:
        """Give the words of every patch -> token ids [patches, 5], -1 where a bag has fewer."""
        bags = []
        for kind, colour, size, character, row, column in patch_classes(scene).tolist():
            what = [self.kinds[kind]]
            if character:
                what = list(self.characters[character - 1])
            elif kind:
                what = [self.kinds[kind], self.colours[colour - 1], self.sizes[size - 1]]
            bags.append(([*what, self.rows[row], self.columns[column], -1, -1])[:5])
        return torch.tensor(bags)


def _batch(tokenizer: Tokenizer, readings: list[tuple[Scene, list[Turn]]]) -> tuple[Tensor, Tensor]:
    """Make one batch -> ids and labels [B, T], padded on the right: some captions, the others questions and answers."""
    num_patches = VISIONS["toy-vit"].num_patches
    captions = [
        [Turn(role="user", text=IMAGE_TAG), Turn(role="assistant", text=caption(scene))]
        for scene, _ in readings[:NUM_CAPTIONS]
    ]
    encoded = prompt.encode(captions, "plain", tokenizer, num_patches)
    encoded += prompt.encode([turns for _, turns in readings[NUM_CAPTIONS:]], "short", tokenizer, num_patches)
    length = max(len(one.ids) for one in encoded)
    ids_BT = torch.full((len(encoded), length), tokenizer.pad_id)
    labels_BT = torch.full((len(encoded), length), prompt.IGNORE)
    for place, one in enumerate(encoded):
        ids_BT[place, : len(one.ids)] = torch.tensor(one.ids)
        labels_BT[place, : len(one.ids)] = torch.tensor(one.labels)
    return ids_BT, labels_BT


def _embed(model: LlamaForCausalLM, ids_BT: Tensor, bags_BPW: Tensor, image_id: int) -> Tensor:
    """Embed a batch, each bag as the sum of its words, blurred a little -> [B, T, D]."""
    embed = model.get_input_embeddings()
    bags_BPD = (embed(bags_BPW.clamp(min=0)) * (bags_BPW >= 0)[..., None]).sum(-2)
    bags_BPD = bags_BPD + BLUR * embed.weight.std().detach() * torch.randn_like(bags_BPD)
    return embed(ids_BT).masked_scatter((ids_BT == image_id)[..., None], bags_BPD)


_ENGLISH = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed and "
    "polite answers to the questions of the user. Please describe what you can see in this photo, who is there, what "
    "they are doing and why. There was a man with his dog in the street; two women were walking by the river, and one "
    "of them said that it would rain before the end of the day. What time is it? Which of these animals is the largest "
    "in the picture? Answer with the letter of the option from the given choices. Give a short description of it."
)
