"""Stage `choose`: which rows of a big data set are brought here, decided from their texts before one picture is fetched.

All rows are read without their pictures and checked as `inspect` checks them, but for the pictures; `download` then brings the
row groups that hold chosen rows, and `inspect` looks at those as at any source. No picture is judged here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from filelock import FileLock

from tinyllava_core.data.download.embedded.chosen import TABLE, write_chosen
from tinyllava_core.data.download.embedded.laid_out import RowFile, lines_for
from tinyllava_core.data.download.embedded.parquet_part import groups_of, part_rows
from tinyllava_core.data.download.embedded.repo import File, Repo, Wanted, chosen, fetch_parts, hub_repo
from tinyllava_core.data.download.embedded.rows import PARQUET
from tinyllava_core.data.download.embedded.source import AT_ONCE, identity
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.inspect.picture import Picture
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.data.mix.filters import read_filters, run_filters
from tinyllava_core.data.mix.tables import add_records, connect, run_sql
from tinyllava_core.data.record.formats import sniff_file
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.results import ChooseResult, DownloadResult, InspectResult
from tinyllava_core.settings.inspect import Inspect
from tinyllava_core.settings.mix import Choose, MixEntry
from tinyllava_core.workers import RunParts, run_parts

VERSION = 1
OnProgress = Callable[[Progress], None]
_GROUPS = pa.schema(
    [("subset", pa.string()), ("file", pa.string()), ("row_group", pa.int32()), ("first_row", pa.int64()), ("size_bytes", pa.int64())]
)  # fmt: skip
_SEEN_LATER = {"image", "width", "height", "min_side", "max_side", "aspect"}  # columns that a picture says
_OTHERWISE = {"record_id", "index"}  # of what was brought: here its rows have other numbers


def choose(
    manifest: Manifest,
    asked: Choose,
    seed: int,
    limits: Inspect,
    out: Path,
    cache: Path,
    *,
    patience: Patience | None = None,
    processes: int | None = None,
    run_parts: RunParts = run_parts,
    on_progress: OnProgress | None = None,
) -> ChooseResult:
    """Write chosen.parquet, and refused.parquet: the rows whose texts cannot be used, each under its reason.

    Text columns that were read stay in `cache` until all is chosen, so that a killed call goes on at the files it was at.
    Raises BadInput if it is no hub's Parquet with embedded pictures, a filter is wrong, or no row is left; ConnectionError where
    the hub gave up on us.
    """
    check_choose(manifest, asked)
    work, scratch = cache / "choices" / manifest.name, out / "scratch"
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)  # of a killed call
    scratch.mkdir(parents=True)
    with FileLock(cache / "choices" / f".{manifest.name}.lock"):
        texts = _Texts(manifest=manifest, work=work, cache=cache, patience=patience or Patience(), tell=on_progress)
        repo, groups = texts.written(scratch / "annotations.jsonl")
        inspected = _checked(manifest, limits, scratch, processes, run_parts, on_progress)
        found, num_left_out = _chosen(manifest, asked, seed, groups, scratch)
        write_chosen(found, repo.commit, out / TABLE)
        shutil.copyfile(scratch / "inspected" / "dropped.parquet", out / "refused.parquet")
        shutil.rmtree(scratch)
        shutil.rmtree(work)
    return ChooseResult(
        source=manifest.name,
        commit=repo.commit,
        num_rows=inspected.num_records,
        num_refused=inspected.num_dropped,
        num_left_out=inspected.num_left_out + num_left_out,
        num_chosen=sum(len(rows) for rows in found["rows"].to_pylist()),
        num_row_groups=found.num_rows,
        size_bytes=sum(found["size_bytes"].to_pylist()),
        size_bytes_in_all=sum(groups["size_bytes"].to_pylist()),
    )


def check_choose(manifest: Manifest, asked: Choose) -> None:
    """Raise BadInput if nothing can be chosen of this source, or a filter is wrong or asks what only a picture says."""
    where = f"choose of source {manifest.name!r}"
    told = manifest.annotations
    if told is None or told.hub is None or not any(entry.embedded for entry in manifest.images):
        raise BadInput(
            f"{where}: it is for Parquet of a hub or a folder of its layout (annotations.hub, images embedded)"
        )
    for given in read_filters(MixEntry(source=manifest.name, filters=asked.filters)):
        if late := next((name for name in given.columns if name in _SEEN_LATER | _OTHERWISE), None):
            raise BadInput(
                f"{where}: filter {given.rule!r}: {late} is not known before the pictures are here; put it among the source's own "
                "`filters`"
            )


def unseen(images: ImagePlaces, path: str, limits: Inspect) -> Picture:
    """Say of a picture nothing: it is not here yet."""
    return Picture(path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """The rows of a data set without their pictures, on their way here."""

    manifest: Manifest
    work: Path
    cache: Path
    patience: Patience
    tell: OnProgress | None

    def written(self, lines: Path) -> tuple[Repo, pa.Table]:
        """Write all rows as lines -> the data set, its row groups."""
        assert self.manifest.annotations is not None
        assert self.manifest.annotations.hub is not None
        hub, pins = self.manifest.annotations.hub, self.cache / "revisions.json"
        repo = hub_repo(hub, self.manifest.local("."), self.work, pins, self.patience)
        files, groups = chosen(repo, hub), list[dict[str, object]]()
        if strange := next((file.name for file in files if not file.name.lower().endswith(PARQUET)), None):
            raise BadInput(f"choose of source {self.manifest.name!r}: {strange}: rows can be chosen of Parquet alone")
        parts = [self.work / "fetched" / f"{identity(repo, file)}-{at}.parquet" for at, file in enumerate(files)]
        with lines.open("wb", buffering=1 << 20) as text:
            for start in range(0, len(files), AT_ONCE):
                batch = list(zip(files, parts, strict=True))[start : start + AT_ONCE]
                wanted = [Wanted(name=file.name, into=part) for file, part in batch if not part.is_file()]
                fetch_parts(repo, hub, wanted, self.work, self.patience)
                for at, (file, part) in enumerate(batch, start + 1):
                    unit = RowFile(name=file.name, subset=file.subset, identity="")
                    text.writelines(lines_for(unit, part_rows(part), _slot))
                    groups += _groups(file, part)
                    self._told(at, len(files), file.name)
        return repo, pa.Table.from_pylist(groups, _GROUPS)

    def _told(self, done: int, total: int, name: str) -> None:
        if self.tell:
            self.tell(Progress(done=done, total=total, unit="files", note=f"texts of {name}"))


def _slot(data: bytes) -> str:
    """Name a picture that is not here. All have one name: none is looked at."""
    return "unseen.jpg"


def _groups(file: File, part: Path) -> list[dict[str, object]]:
    return [
        {
            "subset": file.subset,
            "file": file.name,
            "row_group": group.group,
            "first_row": group.first_row,
            "size_bytes": group.size_bytes,
        }
        for group in groups_of(part)
    ]


def _checked(
    manifest: Manifest,
    limits: Inspect,
    scratch: Path,
    processes: int | None,
    run_parts: RunParts,
    on_progress: OnProgress | None,
) -> InspectResult:
    """Check the records but for their pictures."""
    assert manifest.annotations is not None
    lines, out = scratch / "annotations.jsonl", scratch / "inspected"
    out.mkdir()
    empty = DownloadResult(
        source=manifest.name,
        kind=manifest.kind,
        licence=manifest.licence,
        urls="",
        annotations=lines.name,
        annotations_sha256=None,
        image_root=".",
        num_files=0,
        num_expected=None,
        size_bytes=0,
        num_requested=0,
        num_failed=0,
    )
    return inspect_source(
        scratch,
        empty,
        manifest.annotations.format or sniff_file(lines),
        1.0,
        out,
        components=manifest.components,
        limits=limits,
        look=unseen,
        expected_count=manifest.annotations.count,
        processes=processes,
        run_parts=run_parts,
        on_progress=on_progress,
    )


def _chosen(manifest: Manifest, asked: Choose, seed: int, groups: pa.Table, scratch: Path) -> tuple[pa.Table, int]:
    """Run the filters and choose -> the row groups, how many records the filters left out."""
    with connect(scratch / "duckdb", [scratch / "inspected"]) as connection:
        add_records(connection, [scratch / "inspected"])
        run_filters(connection, MixEntry(source=manifest.name, filters=asked.filters), manifest.name)
        connection.register("row_group", groups)
        found = run_sql(connection, "choose", {"seed": seed, "records": asked.records}).to_arrow_table()
        num_left_out = connection.execute("SELECT count(*) FROM left_out").fetchall()[0][0]
    if not found.num_rows:
        rules = ", ".join(asked.filters)
        raise BadInput(f"choose of source {manifest.name!r}: no record is left by its filters ({rules}); loosen them")
    return found, num_left_out
