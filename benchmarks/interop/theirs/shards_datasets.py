"""datasets: load the folder of tars by its card; the JSON comes decoded, pictures as the bytes they are."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import datasets


def main(given: dict) -> dict:
    """Give each record's key, its conversation as sorted JSON, and the sha256 of its pictures."""
    with tempfile.TemporaryDirectory() as cache:
        loaded = datasets.load_dataset(given["shards"], split="train", cache_dir=cache)
        for name, feature in loaded.features.items():
            if isinstance(feature, datasets.Image):
                loaded = loaded.cast_column(name, datasets.Image(decode=False))
        said = [record(row) for row in loaded]
    return {"version": datasets.__version__, "said": said}


def record(row: dict) -> dict:
    """Take one row apart."""
    pictures = [value for name, value in row.items() if isinstance(value, dict) and "bytes" in value]
    return {
        "key": row["__key__"],
        "turns": json.dumps(row["json"]["turns"], sort_keys=True),
        "pictures": [hashlib.sha256(one["bytes"]).hexdigest() for one in pictures if one["bytes"]],
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
