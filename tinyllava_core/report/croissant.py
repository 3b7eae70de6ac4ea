"""A run's mixes in the words of Croissant, the description of data sets that hubs and search engines read. It reads no records.

Source: the Croissant format specification 1.0 (MLCommons); its context stands in croissant.json as the specification gives it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tinyllava_core.artifact import Artifact
from tinyllava_core.report.card import UNKNOWN
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.results import TRAININGS, DownloadResult, MixResult

COLUMNS = {  # of mix.parquet: Croissant's type, meaning
    "position": ("sc:Integer", "Place in the order of training, from 0."),
    "record_id": ("sc:Text", "The record: its source and its number there. A record that is passed over twice stands here twice."),
    "source": ("sc:Text", "The data source that it is of."),
    "component": ("sc:Text", "The part of that source, where its file tells parts apart."),
    "repeat": ("sc:Integer", "Which pass over the source this is, from 0."),
    "num_images": ("sc:Integer", "Pictures that the record shows."),
}  # fmt: skip


def write_croissant(facts: RunFacts, folder: Path) -> list[Path]:
    """Write STAGE.croissant.json into `folder` for each stage that was mixed -> the files. Paths in them are relative to it."""
    written = []
    for stage in TRAININGS:
        mix, shard = facts.one("mix", stage), facts.one("shard", stage)
        if mix is not None:
            out = folder / f"{stage}.croissant.json"
            out.write_text(json.dumps(_dataset(facts, stage, mix, shard, folder), indent=1) + "\n", encoding="utf-8")
            written.append(out)
    return written


def _dataset(facts: RunFacts, stage: str, mix: Artifact, shard: Artifact | None, folder: Path) -> dict[str, Any]:
    told, result = mix.manifest(), mix.result(MixResult)
    used = sorted({entry["source"] for entry in told["spec"]["entries"]})
    known = [artifact.result(DownloadResult).licence for name, artifact in facts.of("download") if name in used]
    context = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    files = [
        _file("mix.parquet", mix.folder, folder, told.get("files", {}).get("mix.parquet"), "application/x-parquet")
    ]
    if shard is not None and (shard.folder / "shards.parquet").is_file():
        tars = pq.read_table(shard.folder / "shards.parquet").to_pylist()
        files += [
            _file(row["name"], shard.folder, folder, row["sha256"], "application/x-tar", row["url"]) for row in tars
        ]
    return {
        "@context": context,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"{facts.recipe.name}-{stage}",
        "description": f"What stage {stage} of run {facts.run_id} trains on: {result.num_records:,} records of "
        f"{', '.join(used)} with {result.num_images:,} pictures, in the order of training (seed {result.seed}).",
        "license": sorted({licence or UNKNOWN for licence in known}) or [UNKNOWN],
        "datePublished": told["made_at"][:10],
        "version": "1.0.0",
        "identifier": mix.fingerprint,
        "distribution": files,
        "recordSet": [_records(pq.read_schema(mix.folder / "mix.parquet").names)],
    }


def _file(
    name: str, where: Path, folder: Path, sha256: str | None, kind: str, url: str | None = None
) -> dict[str, Any]:
    place = url or Path(os.path.relpath(where / name, folder)).as_posix()
    checked = {"sha256": sha256} if sha256 else {}
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": place, "encodingFormat": kind, **checked}


def _records(columns: list[str]) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"records/{name}",
            "name": name,
            "description": meaning,
            "dataType": kind,
            "source": {"fileObject": {"@id": "mix.parquet"}, "extract": {"column": name}},
        }
        for name, (kind, meaning) in COLUMNS.items()
        if name in columns
    ]
    return {"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}
