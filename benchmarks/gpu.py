"""What one CUDA card shows: facts that tests prove on a CPU, speed and memory at real sizes, where a step's time goes.

    python benchmarks/gpu.py [--minutes 15] [--only NAME ...] [--out gpu.json]     or: make gpu

The most valuable rows come first; each is printed when it is done, and all stand in the JSON file. A row that fails, hangs or takes the
process along is said, and the next ones go on in another process. No time left: what was not run is named.

    python benchmarks/gpu.py --only machine "tinyllama sft packed"                 first, two minutes: does it run at all?
    python benchmarks/gpu.py --tiny                                                a dry run on a CPU, with the toy's parts

A bare PyTorch machine will do (torch 2.11 or newer, transformers 5, pyarrow, pillow, psutil). What else is needed are these wheels, 8 MB,
which may lie unpacked in a folder on PYTHONPATH: CARRIED. Without DeepSpeed its row says so.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

CARRIED = (
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "simplejpeg",
    "tensorboardX",
    "protobuf",
)
ROOT = Path(__file__).resolve().parents[1]
ROW_SECONDS = 150  # that a row may take, its process's start included; of a dry run, ten times as much
MARK = "@row "
FACTS = (
    "machine",
    "ceiling",
    "dtypes",
    "kernel varlen",
    "packed is unpacked, bf16",
    "packed is unpacked, fp32",
    "waits",
    "killed",
    "recompiles",
    "answers",
    "kernel flex",
    "kernel loop",
    "kernel flash-attn",
)
SPEED = (  # model, stage, way
    ("tinyllama", "sft", "packed"),
    ("phi-2", "sft", "packed"),
    ("tinyllama", "pretrain", "packed"),
    ("tinyllama", "sft", "padded, as LLaVA"),
    ("phi-2", "sft", "packed, compiled"),
    ("phi-2", "sft", "packed, nothing made again"),
    ("phi-2", "sft", "padded, as LLaVA"),
    ("phi-2", "pretrain", "packed"),
    ("qwen3-0.6b", "sft", "packed"),
    ("qwen3-0.6b", "sft", "packed, compiled"),
    ("qwen3-0.6b", "sft", "padded, as LLaVA"),
    ("qwen3-0.6b", "pretrain", "packed"),
    ("tinyllama", "sft", "packed, compiled"),
    ("tinyllama", "sft", "packed, nothing made again"),
    ("tinyllama", "sft", "packed, fsdp keep"),
    ("tinyllama", "sft", "packed, fsdp reshard"),
    ("tinyllama", "sft", "packed, deepspeed zero-2"),
    ("tinyllama", "pretrain", "padded, as LLaVA"),
)
PROFILE = ("profile of tinyllama sft", "profile of phi-2 sft")
ROWS = (*FACTS, *(" ".join(one) for one in SPEED[:4]), PROFILE[0], *(" ".join(one) for one in SPEED[4:]), PROFILE[1])
H100_HOURS = "H100-hours of base with TinyLlama"


def doers(tiny: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """Say how each row is made. What is imported here a child alone imports."""
    sys.path.insert(0, str(ROOT))
    sys.path.insert(0, str(Path(__file__).parent))  # whatever PYTHONSAFEPATH says: these files lie beside this one
    import gpu_facts
    import gpu_speed
    import torch

    if not tiny and not torch.cuda.is_available():
        sys.exit("error: torch.cuda.is_available() is False: no GPU here; --tiny is the dry run on a CPU")
    size = gpu_speed.Size(device=torch.device("cpu" if tiny else "cuda"), tiny=tiny, **(_TINY if tiny else {}))
    found: dict[str, Callable[[], dict[str, Any]]] = {
        **{name: partial(getattr(gpu_facts, name), size) for name in FACTS if hasattr(gpu_facts, name)},
        **{name: partial(gpu_facts.kernel, name.split()[1], size) for name in FACTS if name.startswith("kernel ")},
        **{f"packed is unpacked, {p}": partial(gpu_facts.packed_is_unpacked, p, size) for p in ("bf16", "fp32")},
        **{" ".join(one): partial(gpu_speed.measure, *one, size) for one in SPEED},
    }
    for name in PROFILE:
        found[name] = partial(_profile, name.split()[2], size)
    return found


_TINY = {"steps": 2, "batch": 3, "micro": 2}


def _profile(model: str, size: Any) -> dict[str, Any]:
    import gpu_speed

    return {"lines": gpu_speed.profile(model, "sft", size)}


def child(names: list[str], tiny: bool) -> None:
    """Make rows, one after the other, and print each as a line of JSON."""
    import gc

    making = doers(tiny)
    for name in names:
        started = time.monotonic()
        try:
            row = making[name]()
        except Exception as fault:
            traceback.print_exc()
            row = {"fault": f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}"[:300]}
        row["seconds"] = round(time.monotonic() - started, 1)
        print(MARK + json.dumps({"name": name, **row}), flush=True)
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def rows(names: list[str], tiny: bool, ends_at: float, log: Path) -> Iterator[dict[str, Any]]:
    """Have rows made by a child, and by another where it dies or hangs."""
    left, limit = list(names), ROW_SECONDS * (10 if tiny else 1)
    while left and time.monotonic() < ends_at:
        command = [sys.executable, __file__, "--child", *(["--tiny"] if tiny else []), "--only", *left]
        own = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        with log.open("a") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | own, cwd=ROOT
            )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_lines, args=(process, lines), daemon=True).start()
        while left:
            try:
                line = lines.get(timeout=max(1.0, min(limit, ends_at - time.monotonic())))
            except queue.Empty:
                line = None
                process.kill()
            if line is None:
                break
            if line.startswith(MARK):
                yield json.loads(line.removeprefix(MARK))
                left.pop(0)
        code = process.wait()
        if left and time.monotonic() < ends_at:
            yield {"name": left.pop(0), "fault": f"its process ended with exit code {code}"}
    for name in left:
        yield {"name": name, "fault": "no time was left"}


def _lines(process: subprocess.Popen[str], into: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        into.put(line)
    into.put(None)


def told(row: dict[str, Any], best: float | None) -> str:
    """Write a row of the table. `best`: the measured product's TFLOP/s."""
    name = f"{row['name']:<46}"
    if "fault" in row:
        return f"{name} FAILED: {row['fault']}"
    if "lines" in row:
        return "\n".join([f"{name} the ten dearest:", *(f"    {line}" for line in row["lines"])])
    if "found" in row:
        return f"{name} {({True: 'holds', False: 'DOES NOT HOLD', None: '-'})[row['ok']]:<14} {row['found']}"
    mfu = f"{row['TFLOP/s'] * 1e12 / row['peak']:>6.1%}" if row["peak"] else f"{'-':>6}"
    of_best = f"{row['TFLOP/s'] / best:>6.1%}" if best else f"{'-':>6}"
    memory = f"{row.get('peak GB', 0):>6.1f} {row.get('estimate GB', 0):>6.1f}"
    return f"{name} {row['records/s']:>9.1f} {row['tokens/s']:>9,.0f} {row['TFLOP/s']:>8.2f} {mfu} {of_best} {memory}  {row['attention']}"


def whole_training(done: dict[str, dict[str, Any]]) -> float | None:
    """Extrapolate both stages of recipe `base` with TinyLlama from their packed rows -> hours of this card."""
    both = [done.get(f"tinyllama {stage} packed", {}) for stage in ("pretrain", "sft")]
    if not all("records/s" in row for row in both):
        return None
    return sum(row["records of the stage"] / row["records/s"] for row in both) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="after which no row begins")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows whose names begin so")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="a dry run on a CPU, with the toy's parts")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    asked = [name for name in ROWS if not given.only or name.startswith(tuple(given.only))]
    if not asked:
        parser.error(f"no row begins with {' or '.join(given.only)}; there are: {', '.join(ROWS)}")
    if given.child:
        child(asked, given.tiny)
        return
    done: dict[str, dict[str, Any]] = {}
    log = given.out.with_suffix(".log")
    log.unlink(missing_ok=True)
    ends_at = time.monotonic() + 60 * given.minutes * (10 if given.tiny else 1)
    print(
        f"{'speed rows':<46} {'records/s':>9} {'tokens/s':>9} {'TFLOP/s':>8} {'MFU':>6} {'of 8k³':>6} {'peak':>6} {'est.GB':>6}"
    )
    for row in rows(asked, given.tiny, ends_at, log):
        done[row["name"]] = row
        print(told(row, done.get("ceiling", {}).get("TFLOP/s")), flush=True)
        given.out.write_text(json.dumps({"made": time.strftime("%Y-%m-%d"), "rows": done}, indent=1))
    hours = whole_training(done)
    if hours is not None:
        print(f"{H100_HOURS if not given.tiny else 'hours of both stages':<46} {hours:.1f}, by the two packed rows")
    if any("fault" in row or row.get("ok") is False for row in done.values()):
        print(f"not all rows hold; what was said meanwhile: {log}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
