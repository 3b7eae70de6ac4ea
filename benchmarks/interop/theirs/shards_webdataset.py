"""webdataset: read the tars as its users do, undecoded, and say what came."""

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import webdataset


def main(given: dict) -> dict:
    """Give each record's key, and the sha256 of its JSON and pictures, in the order of the tars."""
    records = []
    for sample in webdataset.WebDataset(given["tars"], shardshuffle=False):
        pictures = [name for name in sample if not name.startswith("__") and name != "json"]
        records.append(
            {
                "key": sample["__key__"],
                "json": hashlib.sha256(sample["json"]).hexdigest(),
                "pictures": [hashlib.sha256(sample[name]).hexdigest() for name in pictures],
            }
        )
    return {"version": version("webdataset"), "said": records}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
