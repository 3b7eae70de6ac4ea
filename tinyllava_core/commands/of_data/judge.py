"""`tinyllava data judge`: columns about a source's records for the filters of a mix: length, script, losses, ratings by a model."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_core.commands.arguments import add_price, add_workspace
from tinyllava_core.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

    from tinyllava_core.curate.rows import Row, Source
    from tinyllava_core.job import AlikeJob, SimilarityJob

HELP = "say something about each record of a source, as columns for a mix's filters"
DESCRIPTION = (
    "Writes a Parquet table for `scores` of a mix entry: num_words and script; with --loss what a training made of each record; with --ask "
    "a rating by the model that TINYLLAVA_JUDGE_URL and TINYLLAVA_JUDGE_MODEL name. It drops nothing."
)
AT_ONCE, AT_MOST, MAX_TOKENS = 4, 1000, 64
MOST_AT_ONCE = 1000
# columns that this command writes itself: no rating is called one of them, nor what a record says itself
OWN = frozenset({
    "record_id", "num_words", "script", "loss", "worst_loss", "similarity", "similarity_cut",
    "alike", "alike_to", "alike_first", "benchmark_alike", "benchmark_alike_to",
})  # fmt: skip
ALIKE_ABOVE = 0.6  # measured: docs/mix.md


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="a manifest's name, or a path to one")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write (default: ./scores-SOURCE.parquet)")
    parser.add_argument(
        "--loss", metavar="CHECKPOINT", help="a training that saw the records: columns loss, worst_loss"
    )
    parser.add_argument(
        "--similarity",
        metavar="MODEL",
        help="a CLIP or SigLIP, by hub name or folder: how alike it finds a record's first picture and its answers",
    )
    parser.add_argument(
        "--alike",
        metavar="ENCODER",
        help="an encoder as a recipe's model.vision names it: which pictures show the same, to it",
    )
    parser.add_argument(
        "--alike-above",
        type=float,
        default=ALIKE_ABOVE,
        metavar="COSINE",
        help=f"from which cosine on two pictures are alike (default: {ALIKE_ABOVE}; docs/mix.md has what that finds)",
    )
    parser.add_argument(
        "--against", nargs="+", default=[], metavar="BENCHMARK", help="with --alike: whose pictures are looked for, too"
    )
    parser.add_argument(
        "--ask",
        nargs="+",
        default=[],
        metavar="NAME=PROMPT",
        help="a column for each: the first number of the reply to a prompt file",
    )
    add_asking(parser, MAX_TOKENS)
    add_workspace(parser)


def add_asking(parser: argparse.ArgumentParser, max_tokens: int) -> None:
    """Take what bounds the asking."""
    parser.add_argument("--plan", action="store_true", help="ask nothing: say what it would cost")
    parser.add_argument(
        "--at-most",
        type=int,
        default=AT_MOST,
        metavar="N",
        help=f"new requests; more are refused beforehand (default: {AT_MOST:,})",
    )
    parser.add_argument(
        "--at-once", type=int, default=AT_ONCE, metavar="N", help=f"requests on their way (default: {AT_ONCE})"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=max_tokens, metavar="N", help=f"of a reply (default: {max_tokens})"
    )
    add_price(parser)


def act(args: argparse.Namespace) -> None:
    """Look at the records, ask, write. Raises BadInput before anything is asked, where it can."""
    import pyarrow as pa

    from tinyllava_core.curate import columns, write
    from tinyllava_core.curate.asking import Prompt, ask, bounded
    from tinyllava_core.curate.rows import source_of
    from tinyllava_core.curate.tariff import Tariff
    from tinyllava_core.data.manifest.manifest import load
    from tinyllava_core.data.mix.filters import score_columns
    from tinyllava_core.data.mix.tables import described_columns
    from tinyllava_core.paths import expanded
    from tinyllava_core.why.found import trained

    _check_alike(args)
    check_asking(args)
    named = [_named(one) for one in args.ask]
    _check_columns([name for name, _ in named], described_columns())
    tariff = Tariff.of(args.price, args.picture_tokens, args.max_tokens)
    place = expanded(args.workspace).resolve()
    source = source_of(load(args.source), place)
    prompts = [Prompt.read(name, path, args.max_tokens) for name, path in named]
    out = args.out or Path(f"scores-{source.name}.parquet")
    rows = list(source.rows())
    tables = [columns.said(rows)]
    told = {"source": source.name, "inspect": source.inspected.name}
    if args.loss:
        training = trained(place, args.loss)
        tables.append(columns.losses(training.folder, pa.array([row.record_id for row in rows], pa.string())))
        told["loss"] = f"{training.stage} {training.fingerprint}"
        if not len(tables[-1]):
            raise BadInput(
                f"--loss {args.loss}: {training.stage} {training.fingerprint} was trained on no record of {source.name}"
            )
    if args.similarity and not args.plan:
        tables.append(_similarity(args.similarity, source, out))
        told["similarity"] = args.similarity

    if args.alike and not args.plan:
        tables.append(_alike(args, source, rows, place, out))
        told["alike"] = f"{args.alike}, from {args.alike_above}"

    def shown(row: Row) -> list[bytes]:
        return [source.jpeg(path) for path in row.pictures]

    for prompt in prompts:
        judge = bounded(place, source.name, prompt, rows, shown, None if args.plan else args.at_most, tariff)
        if judge is not None:
            tables.append(write.rated(prompt, ask(judge, prompt, rows, shown, args.at_once)))
            told[prompt.name] = f"{judge.model}, prompt {prompt.sha256}"
    if args.plan:
        return
    table = write.write_scores(tables, told, out)
    score_columns(str(out), described_columns())  # a filter can name them
    _tell(table, source.name, out)


def _tell(table: pa.Table, source: str, out: Path) -> None:
    """Say what was written, and how many records are without which column."""
    missing = ", ".join(
        f"{name} {table[name].null_count:,}"
        for name in table.column_names
        if table[name].null_count and not name.endswith(("_fault", "_by"))
    )
    print(
        f"{out}: {len(table):,} records of {source}, columns {', '.join(table.column_names[1:])}"
        + (f"; without: {missing}" if missing else "")
    )


def _check_alike(args: argparse.Namespace) -> None:
    if not 0 < args.alike_above <= 1:
        raise BadInput(f"--alike-above {args.alike_above}: expected a cosine, more than 0 and at most 1")
    if args.against and not args.alike:
        raise BadInput("--against: has no effect without --alike, which names the encoder that compares pictures")


def check_asking(args: argparse.Namespace) -> None:
    """Raise BadInput for bounds of the asking that are none, before anything is paid for."""
    for name, least, most in (("at_once", 1, MOST_AT_ONCE), ("at_most", 0, None), ("max_tokens", 1, None)):
        if (given := getattr(args, name)) < least or (most is not None and given > most):
            expected = f"{least} to {most:,}" if most else f"{least} or more"
            raise BadInput(f"--{name.replace('_', '-')} {given}: expected {expected}")


def _check_columns(names: Sequence[str], of_a_record: Collection[str]) -> None:
    """Raise BadInput if a rating's columns (NAME, NAME_by, NAME_fault) are there already: before anything is paid for."""
    seen = dict.fromkeys(OWN, "written by this command itself") | dict.fromkeys(of_a_record, "a record's own")
    for name in names:
        for column in (name, f"{name}_by", f"{name}_fault"):
            if column in seen:
                raise BadInput(f"--ask {name}=...: column {column!r} is {seen[column]}; give the rating another name")
            seen[column] = f"of --ask {name}=... already"


def _named(word: str) -> tuple[str, Path]:
    name, sign, path = word.partition("=")
    if not sign or not path or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise BadInput(
            f"--ask {word}: expected NAME=PROMPT, a column's name in small letters and a text file, as in help=help.txt"
        )
    return name, Path(path)


def _similarity(model: str, source: Source, out: Path) -> pa.Table:
    """Have pictures and words compared."""
    from tinyllava_core.job import SimilarityJob

    aside = out.with_name(f".{out.stem}-similarity.parquet")
    inspected, images = source.inspected, source.images
    return _apart(SimilarityJob(source=source.name, inspected=inspected, images=images, model=model, out=aside))


def _alike(args: argparse.Namespace, source: Source, rows: list[Row], workspace: Path, out: Path) -> pa.Table:
    """Have pictures compared -> the columns of each record with a picture: those of its first."""
    from tinyllava_core.curate.columns import alike
    from tinyllava_core.data.manifest.located import locate
    from tinyllava_core.data.manifest.manifest import load
    from tinyllava_core.job import AlikeJob, Pictures
    from tinyllava_core.parts.vision import VISIONS

    VISIONS[args.alike]  # known, or one line with the nearest
    against = []
    for name in args.against:
        manifest = load(name)
        found = locate(manifest, workspace, "benchmark")
        if found.inspected is None:
            raise BadInput(
                f"--against {name}: not inspected in workspace {workspace}; a run that evaluates it does that"
            )
        against.append(Pictures(name=manifest.name, inspected=found.inspected, images=found.images))
    job = AlikeJob(
        encoder=args.alike,
        pictures=Pictures(name=source.name, inspected=source.inspected, images=source.images),
        against=tuple(against),
        above=args.alike_above,
        kept=workspace / "judged" / "vectors",
        out=out.with_name(f".{out.stem}-alike.parquet"),
    )
    return alike(_apart(job), rows)


def _apart(job: SimilarityJob | AlikeJob) -> pa.Table:
    """Have a process of its own do what needs torch. Raises BadInput if it does not come to its end."""
    import pyarrow.parquet as pq

    job.out.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", job.MODULE, job.model_dump_json()]
    ran = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or [f"its process ended with code {ran.returncode}"])[-1]
        raise BadInput(said.removeprefix("error: "))
    table = pq.read_table(job.out)
    job.out.unlink()
    return table
