"""The views over the files in artifact folders: which files, and the statements that make them. It runs none of them.

Paths are absolute, because a relative one would be looked up from the reader's working directory. A view that finds no
file yet is empty, with the same columns and types.
"""

from __future__ import annotations

from pathlib import Path

from tinyllava_core.lineage.tables import Table, file_tables, literal, quoted
from tinyllava_core.results import TRAININGS

# view -> its files in <workspace>/artifacts/<stage>/<fingerprint>/
FILES: dict[str, tuple[tuple[str, ...], str]] = {
    "failures": (("download",), "failures.parquet"),
    "attempts": (("download",), "attempts.parquet"),
    "records": (("inspect",), "records.parquet"),
    "images": (("inspect",), "images.parquet"),
    "dropped": (("inspect",), "dropped.parquet"),
    "mixes": (("mix",), "mix.parquet"),
    "left_out": (("mix",), "left_out.parquet"),
    "duplicates": (("mix", "overlap"), "duplicates.parquet"),  # dropped ones, and those that were only reported
    "contamination": (("mix", "overlap"), "contamination.parquet"),
    "placements": (("shard",), "index.parquet"),
    "plans": (("plan",), "plan.parquet"),
    "voided": (("plan",), "voided.parquet"),
    "steps": (TRAININGS, "steps.jsonl"),
    "record_losses": (TRAININGS, "record_losses.parquet"),
    "lives": (TRAININGS, "lives.jsonl"),
    "metrics": (TRAININGS, "metrics.jsonl"),
    "measured": (TRAININGS, "held_out.jsonl"),
    "held_out": (("plan",), "held_out/plan.parquet"),
    "parts": (TRAININGS, "parts.jsonl"),
    "answers": (("evaluate",), "answers.jsonl"),
    "items": (("evaluate",), "items.jsonl"),
    "attributions": (("attribute",), "attributions.parquet"),
    "attributed_groups": (("attribute",), "attributed_groups.parquet"),
    "outcomes": (("retrain",), "outcomes.parquet"),
    "attribution_checks": (("attribution_check",), "checks.jsonl"),
    "searched_mixes": (("mix_search",), "mixes.jsonl"),
    "subscores": (("evaluate",), "subscores.jsonl"),
}
_FINISHED = "[0-9a-f]*"  # an artifact's folder; one that is being made begins with a dot
LIVE = (
    "steps",
    "metrics",
    "lives",
    "measured",
)  # read while they are written, too: any reader sees a training's last step
_FROM_PATH = {
    "fingerprint": "regexp_extract(parse_path(filename)[-2], '[0-9a-f]+')",
    "stage": "parse_path(filename)[-3]",
}


def patterns(workspace: Path, view: str) -> list[str]:
    """Give the patterns of a view's files, relative to the workspace, that match some file now."""
    stages, file = FILES[view]
    candidates = [f"artifacts/{stage}/{'*' if view in LIVE else _FINISHED}/{file}" for stage in stages]
    return [pattern for pattern in candidates if any(workspace.glob(pattern))]


def found(workspace: Path) -> str:
    """Say which patterns match files now: as long as this stays the same, the views need not be made again."""
    return " ".join(pattern for view in FILES for pattern in patterns(workspace, view))


def statements(workspace: Path) -> list[str]:
    """Write the statements that make every view over files of this workspace, with their comments."""
    made: list[str] = []
    for name, table in file_tables().items():
        matching = [f"{without_pattern(str(workspace))}/{pattern}" for pattern in patterns(workspace, name)]
        made.append(f"CREATE VIEW {quoted(name)} AS {_select(table, matching)}")
        made.append(f"COMMENT ON VIEW {quoted(name)} IS {literal(table.comment)}")
    return made


def _select(table: Table, globs: list[str]) -> str:
    if not globs:
        empty = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in table.columns.items())
        return f"SELECT {empty} WHERE false"
    columns = ", ".join(f"{_value(name, kind)} AS {quoted(name)}" for name, kind in table.columns.items())
    paths = "[" + ", ".join(literal(glob) for glob in globs) + "]"
    read = _read_parquet if FILES[table.name][1].endswith(".parquet") else _read_jsonl
    found = f"SELECT {columns} FROM {read(paths, {n: k for n, k in table.columns.items() if n not in _FROM_PATH})}"
    if table.name not in LIVE:
        return found
    first = next(name for name in table.columns if name not in _FROM_PATH)
    return f"{found.removesuffix(')')}, ignore_errors = true) WHERE {first} IS NOT NULL"  # a line that is half written


def _value(name: str, kind: str) -> str:
    if name in _FROM_PATH:
        return _FROM_PATH[name]
    if kind == "TIMESTAMP":  # read as text: straight into a TIMESTAMP, DuckDB ignores the text's zone
        return f"CAST({quoted(name)} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    return quoted(name)


def _read_parquet(paths: str, columns: dict[str, str]) -> str:
    """Read with declared names and types: what a file lacks is NULL, and no file is opened before a query needs it."""
    shape = ", ".join(
        f"{literal(name)}: {{name: {literal(name)}, type: {literal(kind)}, default_value: NULL}}"
        for name, kind in columns.items()
    )
    return f"read_parquet({paths}, schema = MAP {{{shape}}})"


def _read_jsonl(paths: str, columns: dict[str, str]) -> str:
    kinds = {name: "VARCHAR" if kind == "TIMESTAMP" else kind for name, kind in columns.items()}
    shape = ", ".join(f"{quoted(name)}: {literal(kind)}" for name, kind in kinds.items())
    return f"read_json({paths}, format = 'newline_delimited', columns = {{{shape}}})"


def without_pattern(path: str) -> str:
    """Write a path such that DuckDB sees no pattern in it."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
