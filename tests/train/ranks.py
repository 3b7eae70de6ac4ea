"""Run training jobs, one after the other, on gloo ranks of this machine: `python ranks.py PARTS_FOLDER REQUESTS`.

REQUESTS is JSON, a list for each number of ranks. All ranks are forks of one process, which imports once what all of them need.

A request names its job file, and may ask for more: `die_at` a step (the job is left as a kill leaves it), `pieces` (numbers of logits
that stand at once, for each rank), `spy` (pretend that CUDA's autocast is on, as it is on a GPU, and write down what types the linear
layers give: dtypes.json), `note` (write down how often weights were read, and how many numbers of which type were sent: noted.json).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.multiprocessing as multiprocessing

sys.path.insert(0, str(Path(__file__).parents[1]))


class Died(BaseException):
    """This rank's job was killed here."""


def one_rank(rank: int, parts_folder: str, world: int, requests: list[dict[str, Any]], port: int) -> None:
    """Be one rank."""
    import torch
    from tiny import tiny_rows

    from tinyllava_core import parts

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    parts.VISIONS["tiny"], parts.LANGUAGES["tiny"] = tiny_rows(Path(parts_folder))
    torch.distributed.destroy_process_group = lambda: None  # DeepSpeed remembers its groups: one group for all jobs
    for request in requests:
        code = one_job(rank, **request)
        if code:
            sys.exit(code)


def one_job(
    rank: int,
    job: str,
    die_at: int | None = None,
    pieces: list[int] | None = None,
    spy: bool = False,
    note: bool = False,
) -> int:
    """Run one job as its request says -> its exit code."""
    if note:
        with noted(Path(job).parent / f"noted-{rank}.json"):
            return one_job(rank, job, die_at, pieces, spy)
    import torch

    from tinyllava_core.model import loss
    from tinyllava_core.train import loop
    from tinyllava_core.train.__main__ import main

    true_piece, true_run_packs, types = loss.PIECE, loop.run_packs, Counter[str]()

    def until_death(work: Any, step: int, *rest: Any) -> Any:
        if step == die_at:
            work.ledger.wait()  # the last state is on the disk; what would be in flight is another test's
            raise Died
        return true_run_packs(work, step, *rest)

    def see(module: torch.nn.Module, _: Any, out: Any) -> None:
        if type(module) is torch.nn.Linear:  # not the head, which gives losses
            types[str(out.dtype)] += 1

    loss.PIECE = pieces[rank] if pieces else true_piece
    loop.run_packs = until_death
    watched = torch.nn.modules.module.register_module_forward_hook(see) if spy else None
    torch.set_autocast_enabled("cuda", spy)
    try:
        return main([job])
    except Died:
        return 0
    finally:
        loss.PIECE, loop.run_packs = true_piece, true_run_packs
        torch.set_autocast_enabled("cuda", False)
        if watched:
            watched.remove()
            (Path(job).parent / f"dtypes-{rank}.json").write_text(json.dumps(types))


@contextlib.contextmanager
def noted(file: Path) -> Iterator[None]:
    """Count calls that read weights, and the numbers that sums over ranks send, by type."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from tinyllava_core.model import assemble

    reads, sent, true_read = 0, Counter[str](), assemble.from_pretrained

    class Sums(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.namespace == "c10d" and "reduce" in func.__name__:
                largest = max(
                    (one for one in tree_leaves(args) if isinstance(one, torch.Tensor)), key=torch.Tensor.numel
                )
                sent[str(largest.dtype)] += largest.numel()
            return func(*args, **(kwargs or {}))

    def read(kind: Any, *rest: Any) -> Any:
        nonlocal reads
        found = true_read(kind, *rest)
        reads += isinstance(found, torch.nn.Module)
        return found

    assemble.from_pretrained = read
    try:
        with Sums():
            yield
    finally:
        assemble.from_pretrained = true_read
        file.write_text(json.dumps({"reads": reads, "sent": sent}))


def run_on_ranks(parts_folder: Path, requests: dict[int, list[dict[str, Any]]]) -> None:
    """Do all that, number of ranks by number of ranks, in processes of their own, and wait for them."""
    told = {world: [request | {"job": str(request["job"])} for request in asked] for world, asked in requests.items()}
    command = [sys.executable, __file__, str(parts_folder), json.dumps(told)]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=alone, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    for needed in ("tiny", "deepspeed", "tinyllava_core.train.__main__", "tinyllava_core.train.engines.zero"):
        importlib.import_module(needed)
    _, folder, asked = sys.argv
    for world, requests in json.loads(asked).items():
        given = (folder, int(world), requests, free_port())
        multiprocessing.start_processes(one_rank, given, nprocs=int(world), start_method="fork")
