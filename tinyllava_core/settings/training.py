"""Sections `pretrain`, `second_pretrain` and `sft` of a recipe: the data, order and optimizer of one training stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tinyllava_core.frozen import Frozen
from tinyllava_core.settings.mix import Contamination, Duplicates, MixEntry
from tinyllava_core.settings.model import ImageMode
from tinyllava_core.settings.writing import Writing

PART_NAMES = ("vision", "connector", "language")


class Part(Frozen):
    """One of the three parts of the model in one stage: vision, connector, language."""

    trainable_from_layer: int | None = Field(
        None,
        ge=0,
        description="First trained block, counted from 0; 0: the whole part. null: frozen.",
    )
    lr: float | None = Field(None, gt=0, description="Peak learning rate of this part. null: the stage's `lr`.")
    weight_decay: float | None = Field(
        None, ge=0, description="Weight decay of this part's matrices. null: the stage's `weight_decay`."
    )
    warmup_fraction: float | None = Field(
        None,
        ge=0,
        lt=1,
        exclude_if=lambda fraction: fraction is None,  # fingerprints from before there was this
        description="Part of the steps with a rising learning rate, for this part alone (Molmo: 200 steps for the connector, 2,000 for "
        "the others). null: the stage's `warmup_fraction`.",
    )


class Connector(Part):
    """The connector in one stage: trained, unless it is said otherwise."""

    trainable_from_layer: int | None = Field(0, ge=0, description="0: trained. null: frozen. It has no blocks.")


class Lora(Frozen):
    """Low-rank adapters in place of the language model's own weights. Numbers: `lora` of the reference implementation."""

    rank: int = Field(128, ge=1, description="Rank of each adapter. Reference: 128.")
    alpha: float = Field(256, gt=0, description="An adapter's output is multiplied by alpha / rank. Reference: 256.")
    dropout: float = Field(
        0.05, ge=0, lt=1, description="Part of an adapter's inputs that is dropped. Reference: 0.05."
    )
    quantize: Literal["nf4"] | None = Field(
        None,
        description="Compute with the frozen weights packed into 4 bits (QLoRA, arXiv 2305.14314); needs a GPU and "
        "bitsandbytes. null: as they are. Reference: 8 bits.",
    )


class Language(Part):
    """The language model in one stage."""

    lora: Lora | None = Field(
        None,
        description="Train adapters of all its linear layers but the head, and keep its own weights frozen. null: train these. "
        "Reference: lr 2e-4 with it.",
    )


class Average(Frozen):
    """Which weights of a stage the mean is taken of: those after its last step, and some before."""

    count: int = Field(ge=2, description="How many, the last step's among them.")
    every: int = Field(ge=1, description="Optimizer steps from one to the next.")


class SortBy(Frozen):
    """Section `sort_by` of a stage: its plan in the order of a column about its records."""

    scores: str = Field(
        description="A Parquet table with record_id and the column, as `tinyllava data judge` writes it; or a folder of such tables, one a source; or a SELECT over the lineage that gives them."
    )
    column: str = Field("loss", description="The column, of numbers. Records without one come last.")
    first: Literal["low", "high"] = Field(
        "low", description="low: the lowest first; where it is a loss, easy before hard."
    )
    parts: int | None = Field(
        None,
        ge=2,
        le=1_000_000,
        description="So many equal parts of the table, one after the other; within one, `order` decides. null: every record in its place.",
    )


class Training(Frozen):
    """One training stage: its data, its order, its optimizer."""

    mix: tuple[MixEntry, ...] = Field(min_length=1, description="The sources of this stage.")
    duplicates: Duplicates = Duplicates()
    contamination: Contamination = Contamination()
    prompt: str | None = Field(
        None,
        description="Prompt format: a key of the table that an unknown one is answered with. null: the language model's own.",
    )
    writing: Writing = Field(Writing(), description="What the prompt format leaves open.")
    image_mode: ImageMode | None = Field(
        None, description="How a picture becomes the encoder's input in this stage. null: the model's `image_mode`."
    )
    max_length: int = Field(
        2048, ge=16, description="Tokens of one sequence, image tokens included. Paper: 2048 or 3072."
    )
    pack_length: int | None = Field(
        None,
        ge=16,
        description="Tokens of one packed sequence at most: what a GPU works on at once. null: max_length. Longer ones feed a "
        "GPU better and are packed tighter, for memory; losses and gradients do not depend on it.",
    )
    global_batch: int = Field(
        ge=1, description="Records of one optimizer step over all GPUs. Paper: 256 pretrain, 128 sft."
    )
    epochs: int = Field(1, ge=1, description="Passes over the mix. Paper: 1.")
    group_by: Literal["modality", "length", "modality_and_length"] | None = Field(
        None,
        description="What the records of one step share where possible: modality (with or without image), length in tokens "
        "(among 50 steps), or both. null: nothing. Paper sft: modality.",
    )
    order: int = Field(
        0,
        ge=0,
        description="0: the mix's own order. N: the same records in another one. What a change of data does is told from what a "
        "change of order does by training in several.",
    )
    sort_by: SortBy | None = Field(
        None,
        description="Take the records in the order of a column about them; `order` decides between equal ones. A study, not a default. "
        "null: in the mix's order.",
    )
    void: str | None = Field(
        None,
        description="Records that keep their places in the plan and weigh nothing: a file with a record_id a line, or a SELECT over the "
        "lineage that gives them. The steps, rates and neighbours of all others stay. null: none.",
    )
    held_out: int = Field(
        0,
        ge=0,
        description="Records kept out of training to measure the loss on, with all that share an image. Paper: 0.",
    )
    held_out_every: int = Field(200, ge=1, description="Optimizer steps between two such measurements.")
    lr: float = Field(gt=0, description="Peak learning rate. Paper: 1e-3 pretrain, 2e-5 sft.")
    schedule: Literal["cosine", "linear", "constant", "wsd"] = Field(
        "cosine",
        description="After the warm-up. Paper: cosine to zero. wsd (warm-up, stable, decay): constant, then down to zero in the last "
        "`decay_fraction` of the steps.",
    )
    decay_fraction: float | None = Field(
        None, gt=0, lt=1, description="wsd: part of the steps with a falling learning rate, usually 0.1 to 0.2."
    )
    final_lr_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        exclude_if=lambda fraction: fraction == 0,  # as above
        description="The schedule ends at this part of the peak rather than at zero. Paper: 0. nanoVLM, Molmo: 0.1.",
    )
    average: Average | None = Field(
        None,
        description="End with the mean of the last weights in place of the last ones: less noise where the rate does not fall to zero. "
        "Costs count x 4 bytes a trained parameter on the disk, until the end. null: off. Paper: none.",
    )
    warmup_fraction: float = Field(
        0.03, ge=0, lt=1, description="Part of the steps with a rising learning rate. Paper: 0.03."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW, matrices only. Paper: 0.")
    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="AdamW moments. Hugging Face default, which the paper's scripts leave."
    )
    max_grad_norm: float | None = Field(1.0, gt=0, description="Clip the global gradient norm. null: off.")
    precision: Literal["fp32", "bf16"] = Field(
        "bf16", description="Arithmetic of forward and backward; weights and optimizer stay fp32."
    )
    gradients_in: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="In what gradients travel from GPU to GPU. bf16: half as much to send, and each sum is rounded to 8 bits; they are "
        "kept and applied in fp32 either way.",
    )
    gradient_checkpointing: bool | tuple[Literal["vision", "language"], ...] = Field(
        False,
        description="Recompute activations in the backward pass (non-reentrant): of both parts with blocks, or of those named.",
    )
    keep_features: bool = Field(
        False,
        description="Encode each image once and train on what is kept: patches x width x 2 bytes an image in bf16 (SigLIP-384: "
        "1.7 MB). Pays where several connectors, seeds or epochs read the same images. pretrain only, with a frozen encoder.",
    )
    keep_gradients: bool = Field(
        False,
        exclude_if=lambda kept: not kept,  # fingerprints from before there was this
        description="Keep a small gradient of every record's output head (1.5 kB) from the pass that trains on it: `tinyllava attribute` "
        "then makes no pass over the records. The weights are the same.",
    )
    save_every: int = Field(
        500, ge=1, description="Optimizer steps between two checkpoints from which a killed run goes on."
    )
    save_minutes: float | None = Field(
        30.0, gt=0, description="Save also when so many minutes have passed since the last time. null: by steps alone."
    )
    data_workers: int = Field(
        2, ge=0, description="Processes that read and decode, per GPU. 0: in the training process."
    )
    max_lost_fraction: float = Field(
        0.05, ge=0, le=1, description="Stop if more than this part of a source's records is dropped."
    )
    vision: Part = Part()
    connector: Connector = Connector()
    language: Language = Language()

    def part(self, name: str) -> Part:
        """Give one of the three parts by its name."""
        return {"vision": self.vision, "connector": self.connector, "language": self.language}[name]

    def warmup_of(self, name: str) -> float:
        """Give the part of the steps with a rising rate, of one of the three parts."""
        own = self.part(name).warmup_fraction
        return self.warmup_fraction if own is None else own

    def recomputes(self, part: str) -> bool:
        """Tell whether the activations of a part with blocks are made again in the backward pass."""
        chosen = self.gradient_checkpointing
        return chosen if isinstance(chosen, bool) else part in chosen

    @model_validator(mode="after")
    def _something_is_trained(self) -> Training:
        if all(self.part(name).trainable_from_layer is None for name in PART_NAMES):
            raise ValueError("no part is trained: set trainable_from_layer of vision, connector or language")
        for name in PART_NAMES:
            part = self.part(name)
            if part.trainable_from_layer is None and {part.lr, part.weight_decay, part.warmup_fraction} != {None}:
                raise ValueError(
                    f"{name} is frozen (trainable_from_layer: null), so its lr, weight_decay and warmup_fraction have no effect: remove them"
                )
            if self.decay_fraction is not None and self.warmup_of(name) + self.decay_fraction > 1:
                raise ValueError("warmup_fraction and decay_fraction together are more than all steps")
        if self.language.lora is not None and self.language.trainable_from_layer is None:
            raise ValueError(
                "language.lora has no effect on a frozen language model: set language.trainable_from_layer to 0"
            )
        if self.pack_length is not None and self.pack_length < self.max_length:
            raise ValueError(
                f"pack_length {self.pack_length} is less than max_length {self.max_length}: a record must fit into a pack"
            )
        if (self.schedule == "wsd") != (self.decay_fraction is not None):
            raise ValueError("schedule wsd needs decay_fraction, usually 0.1 to 0.2; the others have none")
        if self.schedule == "constant" and self.final_lr_fraction:
            raise ValueError(
                f"final_lr_fraction = {self.final_lr_fraction:g} has no effect with schedule constant: remove it"
            )
        if self.keep_features and self.vision.trainable_from_layer is not None:
            raise ValueError("keep_features needs a frozen encoder: set vision.trainable_from_layer to null")
        if self.connector.trainable_from_layer not in (None, 0):
            raise ValueError("a connector has no blocks: trainable_from_layer is 0 (trained) or null (frozen)")
        return self
