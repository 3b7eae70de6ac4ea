"""What tasks leave for the lineage, and what is left of a task that was killed over it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tinyllava_core.lineage import fragments


def test_what_a_killed_writer_of_this_machine_left_half_is_taken_away(tmp_path: Path) -> None:
    folder = fragments.fragments(tmp_path) / "stage"
    folder.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here, then = fragments._HERE, time.time() - 60
    names = {"dead": f".{here}.{gone.pid}.a.partial", "alive": f".{here}.{os.getpid()}.a.partial"}
    names |= {"elsewhere": f".01234567.{gone.pid}.a.partial", "just now": f".{here}.{gone.pid}.b.partial"}
    for what, name in names.items():
        (folder / name).touch()
        if what != "just now":
            os.utime(folder / name, (then, then))
    fragments.signatures(fragments.fragments(tmp_path))
    assert {what for what, name in names.items() if (folder / name).exists()} == {"alive", "elsewhere", "just now"}
