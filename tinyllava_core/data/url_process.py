"""What runs in the process group that fetches a table of URLs: img2dataset, and the promise to end with its starter.

Started by url_table.py as `python -m tinyllava_core.data.url_process ARGUMENTS.json STARTER_PID`. img2dataset's pool
workers import this module again (multiprocessing's spawn), so the promise below binds each of them too.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from tinyllava_core.data.process_group import die_with_parent

if (
    __name__ != "tinyllava_core.data.url_process"
):  # __main__, or __mp_main__ in a worker; an import by name binds nobody
    die_with_parent(int(sys.argv[2]) if __name__ == "__main__" else None)
    warnings.simplefilter("ignore")  # its libraries warn at every import, in each process

if __name__ == "__main__":
    from img2dataset import download

    download(**json.loads(Path(sys.argv[1]).read_text()))
