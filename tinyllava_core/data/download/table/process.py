"""The process that fetches a table of URLs: img2dataset, with our manners, without what it does not need for that.

Started by one_pass.py as `python -m tinyllava_core.data.download.table.process ARGUMENTS.json`. img2dataset's pool workers import
this module again (multiprocessing's spawn), so what stands here holds in each of them too.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

# img2dataset imports these at its top, for other outputs, resizing and a web service. Empty modules in their place save
# 2.4 of 3.3 s of CPU time in each of its three and more processes (torch comes along with webdataset), and two
# look-ups on the network.
_NOT_NEEDED = ("albumentations", "wandb", "webdataset", "imghdr")  # Python 3.13 has no imghdr any more


def _without_what_is_not_needed() -> None:
    """Import img2dataset on empty modules; if a release of it should want more of them at its import, on the real ones."""
    sys.modules.update({name: types.ModuleType(name) for name in _NOT_NEEDED})
    try:
        import img2dataset  # noqa: F401
    except (ImportError, AttributeError):
        for name in (*_NOT_NEEDED, *(name for name in sys.modules if name.startswith("img2dataset"))):
            sys.modules.pop(name, None)


if (
    __name__ != "tinyllava_core.data.download.table.process"
):  # __main__, or __mp_main__ in a worker; an import by name does nothing
    warnings.simplefilter("ignore")  # its libraries warn at every import, in each process
    _without_what_is_not_needed()

if __name__ == "__main__":
    from tinyllava_core.data.download.table.worker import Manners, PoliteDownloader
    from tinyllava_core.data.web.patience import Patience

    given = json.loads(Path(sys.argv[1]).read_text())
    manners = Manners(
        patience=Patience(**given["patience"]), notes=Path(given["notes"]), asked=frozenset(given["asked"])
    )
    main: Any = importlib.import_module("img2dataset.main")  # the package has a function of that name
    main.Downloader = functools.partial(PoliteDownloader, manners=manners)
    main.download(**given["img2dataset"])
