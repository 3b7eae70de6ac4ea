"""Make the toy world's two backbones from nothing: `python -m tinyllava_core.toyworld.make_backbones [OUT]`.

They stand for the pretrained models of a hub: the vision encoder has seen pictures but no sentence; the language model has
read about scenes, told as a bag of words for each place, but seen no picture. It is run once; the pipeline only loads the
folders it leaves.
"""

from __future__ import annotations

import argparse
import random
import string
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tinyllava_core.data import prompt
from tinyllava_core.data.record import IMAGE_TAG, Turn
from tinyllava_core.parts import LANGUAGES, TOY_BACKBONES, VISIONS
from tinyllava_core.prompts import PROMPTS
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer
from tinyllava_core.toyworld import scene as world
from tinyllava_core.toyworld.font import CHARACTERS
from tinyllava_core.toyworld.scene import Scene, make_scene, render
from tinyllava_core.toyworld.text import OPEN_KINDS, SHORT_ANSWER, ask_many, caption, retell

SEED = 7
VISION_STEPS, VISION_BATCH, VISION_LR = 1200, 32, 1.5e-3
LANGUAGE_STEPS, LANGUAGE_BATCH, LANGUAGE_LR = 4300, 8, 1.5e-3
EASY_STEPS = 500  # with at most three shapes
NUM_CAPTIONS, NUM_QUESTIONS = 2, 10  # captions of a batch; questions of each other talk
MATRIX_STD = 0.088  # 1 / sqrt(width): with Llama's 0.02 the circuit that looks things up forms late
BLUR = 0.2  # of an embedding's standard deviation
VOCABULARY = 768
# What a patch shows, one class a question; 0 is "nothing". Rows and columns are those of the patch's own cell.
PATCH_CLASSES = {
    "kind": len(world.KINDS) + 1,
    "colour": len(world.COLOURS) + 1,
    "size": len(world.SIZES) + 1,
    "character": len(CHARACTERS) + 1,
    "row": 3,
    "column": 3,
}


def main(arguments: list[str]) -> None:
    """Make both backbones under OUT (default: where the package looks for them)."""
    parser = argparse.ArgumentParser(prog="make_backbones", description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=TOY_BACKBONES)
    parser.add_argument("--only", choices=("vision", "language"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # tensors this small gain nothing from more
    if options.only != "language":
        make_vision(options.out / "vision", VISION_STEPS)
    if options.only != "vision":
        make_language(options.out / "language", LANGUAGE_STEPS)


# -- vision: a small SigLIP encoder, taught to say what is in each patch --


def make_vision(out: Path, num_steps: int) -> None:
    """Train the encoder with a dense loss on its last two hidden states and save it."""
    torch.manual_seed(SEED)
    row = VISIONS["toy-vit"]
    config = SiglipVisionConfig(
        hidden_size=row.width,
        intermediate_size=4 * row.width,
        num_hidden_layers=row.num_layers,
        num_attention_heads=4,
        image_size=row.image_size,
        patch_size=row.patch_size,
        vision_use_head=False,
    )
    model = SiglipVisionModel(config)
    heads = nn.ModuleList(nn.Linear(row.width, sum(PATCH_CLASSES.values())) for _ in range(2))
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=VISION_LR, weight_decay=0.01)
    for step in _schedule(optimizer, num_steps, "vision"):
        scenes = [make_scene("backbone-vision", step * VISION_BATCH + place) for place in range(VISION_BATCH)]
        targets_NPC = torch.stack([patch_classes(scene) for scene in scenes])
        output = model(torch.stack([_pixels(scene) for scene in scenes]), output_hidden_states=True)
        states = (output.hidden_states[-2], output.last_hidden_state)
        loss = sum(_patch_loss(head(state), targets_NPC) for head, state in zip(heads, states, strict=True))
        assert isinstance(loss, Tensor)
        _step(optimizer, loss, parameters, step)
    model.half().save_pretrained(out)
    size = {"height": row.image_size, "width": row.image_size}
    SiglipImageProcessor(size=size, image_mean=list(row.mean), image_std=list(row.std)).save_pretrained(out)


def patch_classes(scene: Scene) -> Tensor:
    """Say what each patch shows -> classes [patches, questions], the questions in PATCH_CLASSES' order."""
    kinds, colours, sizes = list(world.KINDS), list(world.COLOURS), list(world.SIZES)
    labels = [(0, 0, 0, 0)]
    which = Image.new("L", (world.IMAGE_SIZE,) * 2, 0)
    draw = ImageDraw.Draw(which)
    for shape in scene.shapes:
        world.draw_shape(draw, shape, len(labels), 0)
        labels.append((kinds.index(shape.kind) + 1, colours.index(shape.colour) + 1, sizes.index(shape.size) + 1, 0))
    if scene.printed:
        for left, top, right, bottom, place in world.print_dots(scene.printed):
            draw.rectangle((left, top, right, bottom), fill=len(labels) + place)
        labels.extend((0, 0, 0, CHARACTERS.index(character) + 1) for character in scene.printed.text)
    side = world.IMAGE_SIZE // world.LETTER
    blocks = np.asarray(which).reshape(side, world.LETTER, side, world.LETTER).swapaxes(1, 2).reshape(side * side, -1)
    classes = []
    for place, block in enumerate(blocks):
        counts = np.bincount(block, minlength=len(labels))[1:]
        shown = (
            int(counts.argmax()) + 1 if len(counts) and counts.max() >= 8 else 0
        )  # a corner of 8 pixels says nothing
        classes.append((*labels[shown], place // side // 2, place % side // 2))
    return torch.tensor(classes)


def _pixels(scene: Scene) -> Tensor:
    values = np.asarray(render(scene), dtype=np.float32)
    return torch.from_numpy(values / 127.5 - 1).permute(2, 0, 1)


def _patch_loss(logits_NPC: Tensor, targets_NPC: Tensor) -> Tensor:
    """Average the questions' losses, patches that show nothing counting a fifth."""
    weight_NP = torch.where(targets_NPC[..., :4].any(-1), 1.0, 0.2)
    losses = [
        F.cross_entropy(part.flatten(0, 1), targets_NPC[..., place].flatten(), reduction="none")
        for place, part in enumerate(logits_NPC.split(list(PATCH_CLASSES.values()), dim=-1))
    ]
    return (torch.stack(losses).sum(0) * weight_NP.flatten()).sum() / weight_NP.sum()


# -- language: a small Llama, taught to read scenes that are told as bags of words --


def make_language(out: Path, num_steps: int) -> None:
    """Train tokenizer and language model and save them."""
    make_tokenizer(out)
    tokenizer = load_tokenizer(out)
    torch.manual_seed(SEED)
    model = new_language(tokenizer)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=LANGUAGE_LR, betas=(0.9, 0.98), weight_decay=0.01)
    words = Words(tokenizer)
    for step in _schedule(optimizer, num_steps, "language"):
        readings = [
            read_about(step * LANGUAGE_BATCH + place, easy=step < EASY_STEPS) for place in range(LANGUAGE_BATCH)
        ]
        ids_BT, labels_BT = _batch(tokenizer, readings)
        bags_BPW = torch.stack([words.bags(scene) for scene, _ in readings])
        embedded_BTD = _embed(model, ids_BT, bags_BPW, tokenizer.image_id)
        _step(optimizer, model(inputs_embeds=embedded_BTD, labels=labels_BT).loss, parameters, step)
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


# -- both --


def _schedule(optimizer: torch.optim.Optimizer, num_steps: int, name: str) -> Iterator[int]:
    """Count the steps; warm up over the first 3 %, then cosine to zero; say now and then how long it takes."""
    peak, started = optimizer.param_groups[0]["lr"], time.monotonic()
    warm = max(1, num_steps * 3 // 100)
    for step in range(num_steps):
        fraction = (step + 1) / warm if step < warm else 0.5 * (1 + np.cos(np.pi * (step - warm) / (num_steps - warm)))
        optimizer.param_groups[0]["lr"] = peak * float(fraction)
        yield step
    print(f"{name}: {num_steps} steps in {time.monotonic() - started:.0f} s", flush=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter], step: int) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if step % 100 == 0:
        print(f"  step {step}: loss {loss.item():.3f}", flush=True)


_ENGLISH = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed and "
    "polite answers to the questions of the user. Please describe what you can see in this photo, who is there, what "
    "they are doing and why. There was a man with his dog in the street; two women were walking by the river, and one "
    "of them said that it would rain before the end of the day. What time is it? Which of these animals is the largest "
    "in the picture? Answer with the letter of the option from the given choices. Give a short description of it."
)

if __name__ == "__main__":
    main(sys.argv[1:])
