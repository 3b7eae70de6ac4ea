"""Run training jobs, one after the other, on two gloo ranks of this machine: `python ranks.py PARTS_FOLDER JOB.yaml ...`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import torch.multiprocessing as multiprocessing

sys.path.insert(0, str(Path(__file__).parents[1]))


def one_rank(rank: int, parts_folder: str, jobs: list[str], port: int) -> None:
    """Be one rank."""
    import torch
    from tiny import tiny_rows

    from tinyllava_core import parts
    from tinyllava_core.train.__main__ import main

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "DS_ACCELERATOR": "cpu",
    }
    parts.VISIONS["tiny"], parts.LANGUAGES["tiny"] = tiny_rows(Path(parts_folder))
    torch.distributed.destroy_process_group = lambda: None  # DeepSpeed remembers its groups: one group for all jobs
    for job in jobs:
        code = main([job])
        if code:
            sys.exit(code)


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    _, folder, *jobs = sys.argv
    multiprocessing.spawn(one_rank, (folder, jobs, free_port()), nprocs=2)
