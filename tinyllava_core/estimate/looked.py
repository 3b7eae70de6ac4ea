"""Look at some records of a source before it is here, or before it is read: how long they are, how many cannot be used, and how sure that is.

Of a file of records every one is found and some, evenly spread, are read; of Parquet the texts of some row groups are read, on this
disk, or from a hub where that is asked for. No picture is looked at, so what pictures will drop is not in it.
"""

from __future__ import annotations

import math
import tempfile
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.data.record.record import IMAGE_TAG, Record
from tinyllava_core.data.record.values import ORIGIN_KEY

if TYPE_CHECKING:
    from tinyllava_core.data.download.embedded.repo import File, Repo
    from tinyllava_core.data.manifest.hub import HubRows

_LOOKED_AT = 2_000  # records of a file on this disk that stand for all of it
_ROWS, _FILES = 10_000, 64  # of Parquet: about so many rows, of at most so many files
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of record: a row of lengths.yaml."""

    kind: str
    component: str | None = None  # of its source, as the manifest names it
    records: int
    images: int
    pairs: float
    question: float  # words
    answer: float
    spread: float
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A mean over all records, from some of them that were drawn in clusters."""

    mean: float
    error: float  # standard error


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was seen of a source: a column each, a row for each record that was read."""

    kinds: list[Kind]
    num_records: int  # of the source
    of: str  # in words: of what so many were looked at
    unusable: np.ndarray  # bool: its texts cannot be trained on
    images: np.ndarray
    pairs: np.ndarray
    questions: np.ndarray  # words
    answers: np.ndarray
    weights: np.ndarray  # records that it stands for
    clusters: np.ndarray  # which were drawn together
    part: float  # of the clusters that there are, from 0 to 1

    def mean_of(self, values: np.ndarray) -> Drawn:
        """Estimate the mean of a value of each record over the whole source."""
        return clustered(values, self.weights, self.clusters, self.part)


def clustered(values: np.ndarray, weights: np.ndarray, clusters: np.ndarray, part: float) -> Drawn:
    """Estimate a mean from clusters that were drawn with equal chance, without replacement, `part` of all there are.

    Source: the ratio estimator of cluster sampling, linearised (Cochran, Sampling Techniques, 3rd edition, section 11.8 with
    equal chances, 6.4 for the variance): k / (k - 1) times the sum over clusters of (sum of weight * (value - mean)) squared, over the
    squared sum of weights. One cluster alone tells no error, unless it is all there is: NaN.
    """
    mean = float((weights * values).sum() / weights.sum())
    _, at = np.unique(clusters, return_inverse=True)
    residuals = np.bincount(at, weights * (values - mean))
    count = len(residuals)
    if part >= 1 or count == 1:
        return Drawn(mean=mean, error=0.0 if part >= 1 else math.nan)
    variance = (1 - part) * count / (count - 1) * float((residuals**2).sum()) / float(weights.sum()) ** 2
    return Drawn(mean=mean, error=math.sqrt(variance))


def look(manifest: Manifest, hub_into: Path | None = None) -> Looked | None:
    """Look at a source's records; None where they are neither on this disk nor, with `hub_into` (a folder for a while), to be asked for.

    Raises BadInput where a file is broken, or in no format that is known; ConnectionError where a hub gave up on us.
    """
    told = manifest.annotations
    if told is None:
        return None
    if told.hub is not None:
        embedded = any(entry.embedded for entry in manifest.images)
        return _in_parquet(manifest, told.hub, hub_into) if embedded and (told.hub.is_local or hub_into) else None
    if told.path is None or not (file := manifest.local(told.path)).is_file() or file.suffix not in (".json", ".jsonl"):
        return None
    return _in_json(manifest, file)


def _in_json(manifest: Manifest, file: Path) -> Looked:
    from tinyllava_core.data.record.formats import sniff_file  # which bring msgspec: benchmarks/gpu.py has none
    from tinyllava_core.data.record.json_split import Unread, item_places, read_items

    places = item_places(file)
    chosen = np.unique(np.linspace(0, len(places) - 1, min(len(places), _LOOKED_AT)).astype(int)).tolist()
    items = (next(iter(read_items(file, places[index : index + 1])))[1] for index in chosen)
    seen = _Seen(manifest, manifest.annotations.format or sniff_file(file))  # type: ignore[union-attr]
    for number, item in enumerate(items):
        seen.add(None if isinstance(item, Unread) else item, 1.0, (number, 0))
    of = f"{len(chosen):,} of {len(places):,} records"
    return seen.told(len(places), of, len(chosen) / max(1, len(places)))


def _in_parquet(manifest: Manifest, hub: HubRows, hub_into: Path | None) -> Looked:
    from tinyllava_core.data.download.embedded.repo import chosen, hub_repo
    from tinyllava_core.data.web.patience import Patience

    with tempfile.TemporaryDirectory(dir=hub_into) as folder:
        work = Path(folder)
        repo = hub_repo(hub, manifest.local("."), work, work / "pins.json", Patience())
        files = chosen(repo, hub)
        rng = np.random.default_rng(_SEED)
        some = [files[at] for at in sorted(rng.choice(len(files), min(len(files), _FILES), replace=False).tolist())]
        return _in_files(manifest, repo, hub, files, some, work)


def _in_files(manifest: Manifest, repo: Repo, hub: HubRows, files: list[File], some: list[File], work: Path) -> Looked:
    """Read the texts of some row groups of some files. Clusters are the files, or the row groups where every file is read."""
    from tinyllava_core.data.download.embedded.parquet_part import Few, groups_of, part_rows, whole_of
    from tinyllava_core.data.download.embedded.pictures import taken_out
    from tinyllava_core.data.download.embedded.repo import Wanted, fetch_parts
    from tinyllava_core.data.record.formats import sniff
    from tinyllava_core.data.web.patience import Patience

    few, every = Few(rows=-(-_ROWS // len(some)), seed=_SEED), len(some) == len(files)
    parts = [work / "fetched" / f"{at}.parquet" for at in range(len(some))]
    wanted = [Wanted(name=file.name, into=part, few=few) for file, part in zip(some, parts, strict=True)]
    fetch_parts(repo, hub, wanted, work, Patience())
    items, weights, clusters = list[dict[str, Any]](), list[float](), list[tuple[int, int]]()
    num_rows, num_groups, num_read = 0, 0, 0
    for number, (file, part) in enumerate(zip(some, parts, strict=True)):
        groups, (rows, groups_there) = groups_of(part), whole_of(part)
        firsts = [group.first_row for group in groups]
        for row, value in part_rows(part):
            items.append(taken_out(value, lambda _: "unseen.jpg") | {ORIGIN_KEY: {"subset": file.subset}})
            weights.append(rows / sum(group.num_rows for group in groups))
            clusters.append((number, bisect_right(firsts, row) if every else 0))
        num_rows, num_groups, num_read = num_rows + rows, num_groups + groups_there, num_read + len(groups)
    told = manifest.annotations.format if manifest.annotations else None
    seen = _Seen(manifest, told or sniff(items, manifest.name))
    for item, weight, cluster in zip(items, weights, clusters, strict=True):
        seen.add(item, weight, cluster)
    there, read = (sum(file.size_bytes for file in those) for those in (files, some))
    num_records = num_rows if every else round(num_rows * there / read)  # by their files' sizes
    of = f"{len(items):,} of {'' if every else 'about '}{num_records:,} records, in {len(some)} of {len(files)} files"
    return seen.told(num_records, of, num_read / num_groups if every else len(some) / len(files))


class _Seen:
    """The records that were read so far."""

    def __init__(self, manifest: Manifest, form: str) -> None:
        from tinyllava_core.data.record.formats import parser

        self._manifest, self._parse = manifest, parser(form)
        self._rows: list[tuple[bool, int, int, int, int, float]] = []
        self._records: list[tuple[Record, str | None, float]] = []
        self._clusters: list[tuple[int, int]] = []

    def add(self, item: Any, weight: float, cluster: tuple[int, int]) -> None:
        """Take one item of the file; None: it could not be read."""
        from tinyllava_core.data.record.conversation import Dropped, check

        self._clusters.append(cluster)
        try:
            record = self._parse(self._manifest.name, len(self._rows), item)
        except Exception:  # Malformed, or what nobody foresaw: as `inspect` does, which names it
            self._rows.append((True, 0, 0, 0, 0, weight))
            return
        pairs = sum(turn.role == "assistant" for turn in record.turns)
        words = (_words(record, "user"), _words(record, "assistant"))
        self._rows.append((isinstance(check(record), Dropped), len(record.images), pairs, *words, weight))
        subset = item.get(ORIGIN_KEY, {}).get("subset") if isinstance(item, dict) else None
        claimed = (one.name for one in self._manifest.components if one.claims(record.images, subset))
        self._records.append((record, next(claimed, None), weight))

    def told(self, num_records: int, of: str, part: float) -> Looked:
        """Sum up."""
        columns = zip(*self._rows, strict=True)
        unusable, images, pairs, questions, answers, weights = (np.asarray(column) for column in columns)
        _, clusters = np.unique(np.asarray(self._clusters), axis=0, return_inverse=True)
        return Looked(
            kinds=self._kinds(num_records),
            num_records=num_records,
            of=of,
            unusable=unusable,
            images=images,
            pairs=pairs,
            questions=questions,
            answers=answers,
            weights=weights,
            clusters=clusters,
            part=part,
        )

    def _kinds(self, num_records: int) -> list[Kind]:
        kinds: dict[tuple[str, int], list[tuple[Record, float]]] = {}
        for record, component, weight in self._records:
            kinds.setdefault((component or "", len(record.images)), []).append((record, weight))
        whole = sum(weight for *_, weight in self._records)
        return [
            _kind(component or None, images, some, round(num_records * sum(weight for _, weight in some) / whole))
            for (component, images), some in sorted(kinds.items())
        ]


def _kind(component: str | None, images: int, looked_at: list[tuple[Record, float]], num_records: int) -> Kind:
    """Say what records of one kind are like, as lengths.yaml says it of published ones."""
    weights = np.asarray([weight for _, weight in looked_at])
    words = np.asarray([[_words(record, "user"), _words(record, "assistant")] for record, _ in looked_at])
    pairs = np.asarray([sum(turn.role == "assistant" for turn in record.turns) for record, _ in looked_at])
    question, answer = (weights @ words) / max(1e-9, weights @ pairs)
    logs = np.log(np.maximum(1, words.sum(axis=1)))
    return Kind(
        kind=f"{images} images",
        component=component,
        records=num_records,
        images=images,
        pairs=float(np.average(pairs, weights=weights)),
        question=float(question),
        answer=float(answer),
        spread=math.sqrt(np.average((logs - np.average(logs, weights=weights)) ** 2, weights=weights)),
        known=True,
    )


def _words(record: Record, role: str) -> int:
    texts = (turn.text.replace(IMAGE_TAG, " ") for turn in record.turns if turn.role == role)
    return sum(len(text.split()) for text in texts)
