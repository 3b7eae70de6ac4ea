"""The model: transformers' Llava with a connector from our table and the language model's own head. It trains nothing.

Shapes: B batch, T tokens, D language width, N images (or tiles of them), P patches of one, K tokens of one, I image tokens of all,
S supervised tokens.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tinyllava_core.model import attention, mixers
from tinyllava_core.model import connector as connectors
from tinyllava_core.model.loss import read_at, token_losses
from tinyllava_core.model.records import Layout
from tinyllava_core.model.vision.native import on_square
from tinyllava_core.model.vision.states import block_list, patches
from tinyllava_core.parts import Shape

_AT_ONCE = 64  # pictures through a frozen encoder: its activations are those of so many at most, whatever a pack holds

# The three parts, under the names that transformers gives their modules.
PREFIXES: dict[str, tuple[str, ...]] = {
    "vision": ("model.vision_tower.",),
    "connector": ("model.multi_modal_projector.", "model.image_newline."),
    "language": ("model.language_model.", "lm_head."),
}


class Head(nn.Linear):
    """A language model's own head: with a bias where it has one (Phi), soft-capped (Gemma 2) or scaled (Granite) where it is.

    The losses of a pack are one call of it, in however many pieces they are taken: what shards the weights (ZeRO-3) gathers them
    once a call, on all ranks together, and each rank has another number of pieces.
    """

    def __init__(self, config: Any, *, bias: bool) -> None:
        super().__init__(config.hidden_size, config.vocab_size, bias=bias)
        self.softcap: float | None = getattr(config, "final_logit_softcapping", None)
        self.divisor: float = getattr(config, "logits_scaling", 1.0)

    def forward(self, hidden: Tensor, labels_S: Tensor | None = None) -> Tensor:
        """[..., D] -> logits [..., vocabulary]; with labels, from [S, D] -> the loss of each [S]."""
        return (
            self.logits(hidden) if labels_S is None else token_losses(self.logits, hidden, labels_S, len(self.weight))
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., vocabulary]. Source of the cap: arXiv 2408.00118, section 2; of the divisor: GraniteForCausalLM."""
        logits = nn.functional.linear(hidden, self.weight, self.bias)
        if self.divisor != 1.0:
            logits = logits / self.divisor
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


class TinyLlava(LlavaForConditionalGeneration):
    """Vision encoder -> connector -> small language model.

    Besides transformers' own fields its configuration has `connector` (fields of parts.connector.Shape), `num_skipped` (leading
    tokens of the encoder that are no patches), `head_bias`, `final_norm` (the state is read behind the encoder's last norm) and
    `newline` (an embedding ends each row of an anyres picture's map).
    """

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        self.shape = Shape(**config.connector)
        self.model.multi_modal_projector = connectors.build(self.shape)
        for later in ("final_norm", "newline"):  # a checkpoint from before these were choices does not say
            setattr(config, later, getattr(config, later, False))
        if config.newline:
            self.model.image_newline = connectors.Newline(self.shape.language_width)
        self.model.get_image_features = self._features_for_generation
        self.lm_head = Head(config.text_config, bias=config.head_bias)
        if config.tie_word_embeddings:
            self.tie_weights()
        self.looks_always = (
            False  # run the encoder on a dummy for a pack without images, even where all in front is frozen
        )
        self._own_attention: str = self.model.language_model.config._attn_implementation
        self.register_forward_pre_hook(_attend_as_transformers)  # `generate` and others that call the model as a whole

    def train(self, mode: bool = True) -> TinyLlava:
        """Set the mode of all parts but a frozen encoder, which stays as it is used: DINOv3 draws its positions anew in training."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.model.vision_tower.parameters()):
            self.model.vision_tower.eval()
        return self

    def image_tokens(self, pixels_N3HW: Tensor, shapes_N2: Tensor | None = None) -> Tensor:
        """Encode images into the language model's space -> [N, K, D]. A frozen encoder runs without autograd.

        `shapes_N2`: rows and columns of patches of each, where they have any shape; then they come in patches, [N, 3, P, pp], and
        only the first tokens of each are the picture's. What comes as [N, P, V] is an encoder's output already
        (data/tensors/features.py). Raises ValueError if the encoder or the connector gives another number of tokens than its row
        declares.
        """
        trained = any(p.requires_grad for p in self.model.vision_tower.parameters())
        patches_NPV = pixels_N3HW
        if pixels_N3HW.ndim == 4:
            with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
                at_once = None if trained or self.looks_always else _AT_ONCE
                patches_NPV = self._patches(pixels_N3HW, shapes_N2, at_once)
        _check_count("vision encoder", patches_NPV.shape[1], self.shape.num_patches)
        if shapes_N2 is not None:
            patches_NPV = on_square(patches_NPV, shapes_N2, self.shape.shrink or 1)
        tokens_NKD: Tensor = self.model.multi_modal_projector(patches_NPV)
        _check_count(f"connector {self.shape.kind!r}", tokens_NKD.shape[1], self.shape.num_tokens)
        return tokens_NKD

    def _patches(self, pixels_N3HW: Tensor, shapes_N2: Tensor | None, at_once: int | None) -> Tensor:
        """Run the encoder -> [N, P, V]. `at_once`: on so many pictures at a time, where nothing is kept of one for the next."""
        layer: int | Literal["final"] = "final" if self.config.final_norm else self.config.vision_feature_layer
        size = at_once or len(pixels_N3HW)
        parts = [
            patches(self.model.vision_tower, part, layer, self.config.num_skipped, shapes)
            for part, shapes in zip(
                pixels_N3HW.split(size), repeat(None) if shapes_N2 is None else shapes_N2.split(size), strict=False
            )
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def ordered(self, tokens_NKD: Tensor, place_I: Tensor | None, weight_I: Tensor | None) -> Tensor:
        """Lay the tokens of tiles in the order in which a sequence reads them -> [I, D]. None: as they come."""
        flat = tokens_NKD.flatten(0, 1)
        if place_I is None:
            return flat
        if not self.config.newline:
            return flat[place_I]
        ordered: Tensor = self.model.image_newline(flat, place_I, weight_I)
        return ordered

    def supervised_losses(
        self,
        ids_T: Tensor,
        position_T: Tensor,
        record_T: Tensor,
        pixels_N3HW: Tensor,
        labels_T: Tensor,
        layout: Layout | None = None,
    ) -> Tensor:
        """Run one pack -> the loss of each supervised token [S], in order. `labels_T`: what stands there; IGNORE: not learned.

        With its `layout` given, nothing is asked of the device.
        """
        hidden_SD, labels_S = self.supervised_states(ids_T, position_T, record_T, pixels_N3HW, labels_T, layout)
        losses_S: Tensor = self.lm_head(hidden_SD, labels_S)
        return losses_S

    def supervised_states(
        self,
        ids_T: Tensor,
        position_T: Tensor,
        record_T: Tensor,
        pixels_N3HW: Tensor,
        labels_T: Tensor,
        layout: Layout | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run one pack as far as the head -> what it is given at each place that predicts a supervised token [S, D], and that token [S]."""
        if layout is None:
            layout = Layout.of(ids_T, record_T, labels_T, self.config.image_token_id)
        return self._hidden(ids_T, position_T, pixels_N3HW, layout)[layout.keep_S], layout.labels_S

    def _hidden(self, ids_T: Tensor, position_T: Tensor, pixels_N3HW: Tensor, layout: Layout) -> Tensor:
        """Run one pack up to the head -> [T, D], right at the places that are kept.

        No record sees another: attention is causal inside a record, and positions start anew in each. Without images the
        trained parts in front of the language model get a zero-weighted dummy, so that every rank has the same graph; so do
        frozen ones whose weights are sharded, because all ranks gather them together.
        """
        embedded_TD = self.get_input_embeddings()(ids_T)
        if len(pixels_N3HW):
            tokens_NKD = self._tokens_of(pixels_N3HW, layout)
            image_ID = self.ordered(tokens_NKD, layout.place_I, layout.weight_I)
            embedded_TD = laid(embedded_TD, image_ID, layout.image_I)
        elif self.looks_always or any(
            p.requires_grad
            for module in (self.model.vision_tower, self.model.multi_modal_projector)
            for p in module.parameters()
        ):
            dummy, shapes_N2 = pixels_N3HW.new_zeros(1, *pixels_N3HW.shape[1:]), layout.shapes_N2
            one = None if shapes_N2 is None else shapes_N2.new_full((1, 2), self.shape.shrink or 1)
            embedded_TD = embedded_TD + 0.0 * self.image_tokens(dummy, one).sum()
            if hasattr(self.model, "image_newline"):
                embedded_TD = embedded_TD + 0.0 * self.model.image_newline.weight.sum()
        self._attend(attention.NAME)
        position_1T = position_T[None]
        attention.remember(position_1T, layout.records)
        read_at(blocks(self.model.language_model)[-1], layout.keep_S, position_T)
        hidden_1TD: Tensor = self.model.language_model(
            inputs_embeds=embedded_TD[None], position_ids=position_1T, use_cache=False, records=layout.records
        ).last_hidden_state
        return hidden_1TD[0]

    def _tokens_of(self, pixels_N3HW: Tensor, layout: Layout) -> Tensor:
        """Encode a pack's tiles, each once however often it is shown -> the tokens of all in order [N, K, D]."""
        if layout.which_N is None:
            return self.image_tokens(pixels_N3HW, layout.shapes_N2)
        shapes_N2 = layout.shapes_N2
        if shapes_N2 is not None:  # the same for all that are the same: whichever is written last
            shapes_N2 = shapes_N2.new_empty(len(pixels_N3HW), 2).index_copy(0, layout.which_N, shapes_N2)
        return self.image_tokens(pixels_N3HW, shapes_N2)[layout.which_N]

    def _features_for_generation(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Let transformers' own forward, and so `generate`, see the same image tokens."""
        return BaseModelOutputWithPooling(pooler_output=list(self.image_tokens(pixel_values)))

    def _attend(self, how: str) -> None:
        """Set the language model's attention; it stays set, because a backward pass may run the forward once more."""
        if self.model.language_model.config._attn_implementation != how:
            self.model.language_model.set_attn_implementation(how)
            mixers.split_by_record(self.model.language_model)


def _attend_as_transformers(model: TinyLlava, _: Any) -> None:
    model._attend(model._own_attention)
    read_at(blocks(model.model.language_model)[-1], None, None)


def splice(text_BTD: Tensor, image_NKD: Tensor, is_image_BT: Tensor) -> Tensor:
    """Lay the image tokens into the places that `is_image_BT` marks, in reading order -> [B, T, D]. Raises as `laid`."""
    image_I = is_image_BT.flatten().nonzero()[:, 0]
    return laid(text_BTD.flatten(0, 1), image_NKD, image_I).view_as(text_BTD)


def laid(text_TD: Tensor, image_NKD: Tensor, image_I: Tensor) -> Tensor:
    """Lay the image tokens, of tiles or already in a row [I, D], into their places -> [T, D].

    Raises ValueError unless as many places are marked as tokens are given: a truncated image is a fault of the data, not a batch
    to repair.
    """
    image_ID = image_NKD.flatten(0, -2)
    if len(image_I) != len(image_ID):
        raise ValueError(f"{len(image_I)} places are marked as image tokens, but {len(image_ID)} were given")
    return text_TD.index_copy(0, image_I, image_ID.to(text_TD.dtype))


def blocks(part: nn.Module) -> list[nn.Module]:
    """List a part's blocks, in order."""
    return list(block_list(part)[1])


def part_of(name: str) -> str:
    """Tell which of the three parts a parameter belongs to."""
    return next(part for part, prefixes in PREFIXES.items() if name.startswith(prefixes))


def _check_count(giver: str, found: int, declared: int) -> None:
    if found != declared:
        raise ValueError(f"{giver}: {found} tokens of one image, its row declares {declared}")
