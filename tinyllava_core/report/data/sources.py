"""What the sources of a run are like, counted from what `inspect` wrote down: sizes, shapes, lengths, scripts. No drawing."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.artifact import Artifact
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.results import DownloadResult, InspectResult

_READ = 2000  # records whose letters are looked at; evenly over the source
_LETTERS = 400  # of each of them


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One source as it is on this disk."""

    name: str
    result: InspectResult
    licence: str | None
    components: tuple[tuple[str, int], ...]  # name, records; the largest first
    megapixels: np.ndarray  # of each good image
    aspects: np.ndarray  # width / height
    turns: np.ndarray  # of each record
    chars: np.ndarray
    formats: tuple[tuple[str, int], ...]
    scripts: tuple[tuple[str, float], ...]  # writing system, percent of the letters looked at
    mended: tuple[tuple[str, int], ...]  # repairs and notes, by records


def source_rows(facts: RunFacts) -> list[SourceRow]:
    """Read every inspected source of a run."""
    found = [(name, artifact, facts.one("download", name)) for name, artifact in facts.of("inspect")]
    return [
        _row(name, artifact, downloaded)
        for name, artifact, downloaded in found
        if _is_whole(artifact) and not (downloaded and downloaded.result(DownloadResult).kind == "benchmark")
    ]


def _is_whole(artifact: Artifact) -> bool:
    return all((artifact.folder / name).is_file() for name in ("records.parquet", "images.parquet"))


def _row(name: str, artifact: Artifact, downloaded: Artifact | None) -> SourceRow:
    records = pq.read_table(
        artifact.folder / "records.parquet", columns=["component", "num_turns", "num_chars", "repairs", "notes"]
    )
    images = pq.read_table(artifact.folder / "images.parquet", columns=["width", "height", "format", "reason"])
    good = images.filter(pc.is_null(images["reason"]))
    width, height = (good[side].to_numpy().astype(float) for side in ("width", "height"))
    mended = Counter(word for column in ("repairs", "notes") for word in pc.list_flatten(records[column]).to_pylist())
    return SourceRow(
        name=name,
        result=artifact.result(InspectResult),
        licence=downloaded.result(DownloadResult).licence if downloaded else None,
        components=tuple(Counter(records["component"].to_pylist()).most_common()),
        megapixels=width * height / 1e6,
        aspects=width / np.maximum(height, 1),
        turns=records["num_turns"].to_numpy(),
        chars=records["num_chars"].to_numpy(),
        formats=tuple(Counter(good["format"].to_pylist()).most_common()),
        scripts=_scripts(artifact),
        mended=tuple(mended.most_common()),
    )


def _scripts(artifact: Artifact) -> tuple[tuple[str, float], ...]:
    file = pq.ParquetFile(artifact.folder / "records.parquet")
    turns = file.read(columns=["turns"])["turns"]
    chosen = turns.take(np.unique(np.linspace(0, max(0, len(turns) - 1), _READ).astype(int))) if len(turns) else turns
    return scripts(["".join(turn["text"] for turn in record) for record in chosen.to_pylist()])


def scripts(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Tell the writing systems of some texts -> (name, percent of the letters), the most used first.

    A system is the first word of a letter's Unicode name: LATIN, CYRILLIC, CJK. Which language it is, that does not say.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        for letter, count in Counter(text[:_LETTERS]).items():
            if letter.isalpha():
                counts[unicodedata.name(letter, "UNNAMED").split()[0].capitalize()] += count
    total = counts.total() or 1
    return tuple((name, 100 * count / total) for name, count in counts.most_common())
