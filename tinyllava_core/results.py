"""What each stage returns: the fields are the columns of its lineage table (lineage/schema.sql, a test compares them).

Only numbers, strings, booleans and None, so that a result is at once a row, a line of JSON and a line of a page.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.settings.condition import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class StartResult:
    """Stage `start`: a checkpoint from elsewhere, taken in to begin with."""

    source: str  # the folder it was in
    size_bytes: int  # of the model's safetensors
    checkpoint_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseResult:
    """Stage `choose`: which rows of a big data set are brought here, decided before one picture is fetched."""

    source: str
    commit: str | None  # of the hub's data set; None: it is a folder
    num_rows: int  # of the subsets that were asked for
    num_refused: int  # whose texts cannot be used, each with its reason in refused.parquet
    num_left_out: int  # by filters, or of components that the manifest does not take
    num_chosen: int  # rows of the source that is made of them
    num_row_groups: int  # that hold them
    size_bytes: int  # of those row groups, in the files
    size_bytes_in_all: int  # of all row groups


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """Stage `download`: one source, image set or benchmark on this disk."""

    source: str  # the manifest's name
    kind: str  # source | images | benchmark
    licence: str | None
    urls: str  # space-separated, as in the manifest; a local folder's path otherwise
    annotations: (
        str | None
    )  # path of the annotation file, relative to the artifact's folder, or absolute for a local one
    annotations_sha256: str | None
    image_root: (
        str  # folder its own images' paths begin in, relative to the artifact's folder or absolute; not the sets'
    )
    num_files: int  # images of its own
    num_expected: int | None  # of an image set, as the manifest knows it
    size_bytes: int  # of those files and the annotations
    num_requested: int  # rows of a URL table; 0 without one
    num_failed: int  # of those, not downloaded; each with its reason in failures.parquet


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """Stage `inspect`: every record and image of one source looked at once."""

    source: str
    num_records: int  # in the annotation file
    num_good: int
    num_dropped: int  # each with its reason in dropped.parquet
    num_left_out: int  # of components that the manifest does not take; good + dropped + left out = records
    num_images: int  # different image files of good records
    image_bytes: int
    num_repaired: int  # good records with something mended, in the record or in one of its images
    num_noted: int  # good records with something remarkable that was left as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class MixResult:
    """Stage `mix`: which records, in which order."""

    num_sources: int
    num_records: int  # rows of mix.parquet (a record that the shares take twice counts twice)
    num_distinct_records: int
    num_images: int
    num_text_only: int
    num_left_out: int  # good records of the sources that are not in it, each with its rule in left_out.parquet
    num_duplicates: int  # records that were dropped as a duplicate of an earlier one: duplicates.parquet
    num_contaminated: int  # records that were dropped because they show a benchmark's picture: contamination.parquet
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapResult:
    """Stage `overlap`: records of a mix that say the same as others, or show a benchmark's picture. It only reports."""

    against: str  # itself (duplicates.parquet) | benchmarks (contamination.parquet)
    num_records: int  # of the mix, that overlap
    num_pairs: int  # rows of the table


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """Stage `shard`: the mix as WebDataset tars."""

    num_shards: int
    num_records: int
    size_bytes: int  # of the tars
    sha256: str  # of the tars' own sha256, in order: the same seed gives the same bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """Stage `plan`: every optimizer step laid out beforehand."""

    stage: str  # pretrain | second_pretrain | sft
    num_steps: int
    num_records: int  # planned places: records x epochs
    num_voided: int  # each with its reason in voided.parquet
    num_truncated: int  # planned places whose record is cut to max_length
    num_held_out: int  # left out of training, to measure the loss on
    num_void: int = 0  # planned places that weigh nothing, because the recipe's `void` names their records
    num_packs: int
    num_tokens: int  # image tokens included
    num_supervised: int
    num_images: int
    num_tiles: int  # pictures through the encoder: the images, or what they are cut into
    padding_fraction: float  # of num_packs * the longest pack of their step: what padding them to one length would add


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesResult:
    """Stage `features`: a frozen encoder's features of every image of a mix."""

    stage: str  # pretrain
    num_images: int  # different ones
    num_patches: int
    width: int
    dtype: str  # float32 | bfloat16
    size_bytes: int
    seconds: float  # of the last life


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """Stages `pretrain`, `second_pretrain` and `sft`: a trained checkpoint."""

    stage: str  # pretrain | second_pretrain | sft
    num_steps: int
    num_records: int
    num_tokens: int
    first_loss: float
    last_loss: float  # mean over the last tenth of the steps
    held_out_loss: float | None  # after the last step; None where no records were held out
    best_step: int | None  # after which it was lowest: the weights in best/
    seconds: float  # of all lives of the process
    num_lives: int  # 1: never killed
    num_parameters: int
    num_trained: int
    checkpoint_sha256: str  # of the model's safetensors
    device: str
    world_size: int
    engine: (
        str  # what stepped the weights in the last life: torch | fsdp keep | fsdp reshard | deepspeed zero-1, -2, -3
    )
    attention: str  # the kernel that packed records attended by: varlen | flash-attn | flex | loop


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult:
    """Stage `evaluate`: one benchmark on one checkpoint under one condition. Without public answers there is no score."""

    benchmark: str
    scorer: str  # pope | vqa | ...
    variant: str  # which of the scorer's ways to ask and score
    blind: bool  # images blanked
    corruption: str | None  # blur | noise | jpeg | rotate | crop; None: images as they are, or blanked
    severity: int | None  # of the corruption, 1 to 5
    metric: (
        str | None
    )  # the headline metric's name; the others are in subscores.jsonl. None: the right answers are hidden
    score: float | None  # of max_score
    stderr: float | None
    ci_low: float | None  # 95 % interval
    ci_high: float | None
    max_score: float | None  # 100 for what is a percentage
    num_questions: int
    num_clusters: int  # draws of the error bar: pictures, or what else the benchmark's questions share
    num_unparsed: int  # answers the scorer could make nothing of
    judge: str | None  # model asked for, model reported, hash of its prompts but for the answers; None: scored by rules
    prompt_sha256: str | None  # of all that was asked, in order
    answers_sha256: str
    submission: str | None  # file in the artifact's folder to upload to the benchmark's server; None: scored here

    @property
    def condition(self) -> str:
        """Name what was done to the images: seen, blind, or the corruption with its severity."""
        return Condition(blind=self.blind, corruption=self.corruption, severity=self.severity).word


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """Stage `export`: the checkpoint in a format others load."""

    format: str  # of settings/export.py
    size_bytes: int
    max_logit_difference: float  # between this package's model and the exported one, same batch, fp32
    equal_generations: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """Stage `report`: the page of a run."""

    num_tables: int
    num_figures: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeResult:
    """Stage `attribute`: what ties a checkpoint's answers to the records of its plan."""

    stage: str  # pretrain | second_pretrain | sft: whose records
    layers: str  # head | all: whose gradients
    num_records: int  # planned places
    num_questions: int
    num_numbers: int  # of one gradient, a byte each
    damping: float  # of the kernel, in units of the mean eigenvalue
    store_bytes: int  # of the records' gradients
    seconds: float  # of the gradients, in the last life
    score_seconds: float  # of comparing every record with every answer
    in_run: bool = False  # the records' are those that the training kept, each at its own step


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainResult:
    """Stage `retrain`: a training once more without some of its records, to see what they did."""

    stage: str  # pretrain | second_pretrain | sft
    num_steps: int
    num_records: int  # planned places
    num_void: int  # of those, that weigh nothing
    last_loss: float  # mean over the last tenth of the steps
    checkpoint_sha256: str  # of the weights, which were taken away again
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionCheckResult:
    """Stage `attribution_check`: a store held against retraining."""

    what: str  # halves | removal
    num_rows: int
    num_trainings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """Stage `merge`: means of checkpoints, measured by the right answers of some benchmarks."""

    stage: str  # pretrain | second_pretrain | sft
    num_checkpoints: int
    num_mixes: int
    num_questions: int
    seconds: float  # of the last life


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSearchResult:
    """Stage `mix_search`: mixes foretold by merged experts, the best of them confirmed in several orders."""

    num_groups: int
    num_mixes: int
    num_records: int  # of each
    num_trained: int  # mixes that were trained too, in one order
    num_orders: int  # that the best were trained in
    foretold: float | None  # Spearman of merges and trainings over those; None: too few
    attainable: float | None  # beside the order's noise
    num_shown: int  # mixes better than the one as it is, beyond the orders' noise


TRAININGS = ("pretrain", "second_pretrain", "sft")  # the words of the stages that train, in their order
RESULTS: dict[str, type] = {
    "start": StartResult,
    "choose": ChooseResult,
    "download": DownloadResult,
    "inspect": InspectResult,
    "mix": MixResult,
    "overlap": OverlapResult,
    "shard": ShardResult,
    "plan": PlanResult,
    "features": FeaturesResult,
    "train": TrainResult,
    "evaluate": EvaluateResult,
    "attribute": AttributeResult,
    "retrain": RetrainResult,
    "attribution_check": AttributionCheckResult,
    "merge": MergeResult,
    "mix_search": MixSearchResult,
    "export": ExportResult,
    "report": ReportResult,
}
