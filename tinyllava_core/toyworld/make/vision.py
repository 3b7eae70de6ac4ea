"""The toy world's vision encoder: a small SigLIP, taught to say what is in each patch. It reads no sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tinyllava_core.parts import VISIONS
from tinyllava_core.toyworld import scene as world
from tinyllava_core.toyworld.font import CHARACTERS
from tinyllava_core.toyworld.make.steps import schedule, take_step
from tinyllava_core.toyworld.scene import Scene, make_scene, render

SEED = 7
VISION_STEPS, VISION_BATCH, VISION_LR = 1200, 32, 1.5e-3
# What a patch shows, one class a question; 0 is "nothing". Rows and columns are those of the patch's own cell.
PATCH_CLASSES = {
    "kind": len(world.KINDS) + 1,
    "colour": len(world.COLOURS) + 1,
    "size": len(world.SIZES) + 1,
    "character": len(CHARACTERS) + 1,
    "row": 3,
    "column": 3,
}


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
    for step in schedule(optimizer, num_steps, "vision"):
        scenes = [make_scene("backbone-vision", step * VISION_BATCH + place) for place in range(VISION_BATCH)]
        targets_NPC = torch.stack([patch_classes(scene) for scene in scenes])
        output = model(torch.stack([_pixels(scene) for scene in scenes]), output_hidden_states=True)
        states = (output.hidden_states[-2], output.last_hidden_state)
        loss = sum(_patch_loss(head(state), targets_NPC) for head, state in zip(heads, states, strict=True))
        assert isinstance(loss, Tensor)
        take_step(optimizer, loss, parameters, step)
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
