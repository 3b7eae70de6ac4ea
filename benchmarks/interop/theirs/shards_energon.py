"""Megatron Energon: prepare the tars by its own command, beside a copy of their names, and read every record by its loader."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from megatron.energon import WorkerConfig, edataclass, get_loader, get_val_dataset, stateless
from megatron.energon.flavors.base_dataset import Sample
from megatron.energon.task_encoder.base import DefaultTaskEncoder
from megatron.energon.task_encoder.cooking import Cooker, basic_sample_keys


@edataclass
class Record(Sample):
    """A record as it lies in its tar."""

    said: dict


@stateless
def cook(sample: dict) -> Record:
    """Take the undecoded members of one record."""
    pictures = [name for name in sample if not name.startswith("__") and name != "json"]
    said = {
        "key": sample["__key__"].split("/")[-1],
        "json": hashlib.sha256(sample["json"]).hexdigest(),
        "pictures": [hashlib.sha256(sample[name]).hexdigest() for name in pictures],
    }
    return Record(**basic_sample_keys(sample), said=said)


class Undecoded(DefaultTaskEncoder):
    """Hands on what the cooker gives."""

    decoder = None
    cookers = (Cooker(cook),)

    def batch(self, samples: list) -> list:
        """Keep the records of a batch as they are."""
        return [sample.said for sample in samples]

    def encode_batch(self, batch: list) -> list:
        """Hand it on."""
        return batch


def main(given: dict) -> dict:
    """Prepare, load, and give the records by key: where tars end is Energon's own affair."""
    home = Path.cwd() / "tars"
    home.mkdir()
    for tar in given["tars"]:
        (home / Path(tar).name).symlink_to(tar)
    words = ["prepare", str(home), "--non-interactive", "--split-ratio", "0,1,0", "--sample-type", "CrudeWebdataset"]
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("energon")), *words, "--num-workers", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(f"energon prepare: {(ran.stderr.strip() or ran.stdout.strip()).splitlines()[-1]}")
    alone = WorkerConfig(rank=0, world_size=1, num_workers=0)
    data = get_val_dataset(home, worker_config=alone, batch_size=1, task_encoder=Undecoded())
    said = [record for batch in get_loader(data) for record in batch]
    return {"version": version("megatron-energon"), "said": sorted(said, key=lambda record: record["key"])}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
