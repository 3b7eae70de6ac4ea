"""The page beside the tars that says what they hold and how to read them, to people and to `datasets`. It reads no tar.

`datasets` guesses the columns of a WebDataset from its first five records: text-only records break the guess, and images
of records with several vanish from it. So the card names every column, and `load_dataset` then believes the card.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

_TEXT = {"dtype": "string"}
_RECORD = [
    {"name": "record_id", **_TEXT},
    {"name": "source", **_TEXT},
    {"name": "turns", "list": [{"name": "role", **_TEXT}, {"name": "text", **_TEXT}]},
    {
        "name": "images",
        "list": [
            {"name": "path", **_TEXT},
            {"name": "sha256", **_TEXT},
            {"name": "width", "dtype": "int64"},
            {"name": "height", "dtype": "int64"},
            {"name": "transform", **_TEXT},
        ],
    },
]
_TEXT_OF_CARD = """
# {num_records:,} records in {num_shards:,} WebDataset tars

{num_images:,} images, {num_text_only:,} records without one; {size:,.1f} MB of tars. In the order of the mix: key `000000042` is
the mix's position 42.

| source | records |
|---|---|
{sources}

A record is `KEY.json` (record_id, source, turns, images) and its images: `KEY.jpg` for one, `KEY.0.jpg`, `KEY.1.png` for
several, none for a text. The n-th `<image>` of the turns is the n-th image. An image is its file's own bytes, unless its
`transform` says how it was made smaller or mended; `sha256` is the original file's.
{once}{elsewhere}
With `webdataset`, every record:

```python
import webdataset
for sample in webdataset.WebDataset("shard-{{000000..{last:06d}}}.tar", shardshuffle=False).decode("pil"):
    sample["json"]["turns"], sample.get("jpg"), sample.get("0.jpg")
```

With `datasets`, every record: the columns are named above, in this file's head. An image that a record does not have is None.

```python
from datasets import load_dataset
for sample in load_dataset("THIS FOLDER", split="train", streaming=True):
    sample["json"]["turns"], sample[{first_field!r}]
```

Do not read single tars with `datasets` (`data_files="shard-000000.tar"`) unless you hand it the same `features=`: without
them it takes its columns from the first five records, and fails or loses images wherever the others have more.

By position, without reading a tar through: `index.parquet` has the offset, size and sha256 of every member.
"""

_TEXT_OF_LINKS = """
A picture that several records of a tar show is stored with the first of them; in the others a hard link of the tar stands for
it. `tar -x` and reading by `index.parquet` give every picture. `webdataset` and `datasets` leave links out: with them such a
record comes without its picture.
"""

_TEXT_OF_STORE = """
The tars are not in this folder but in `{store}`, each named by its sha256. To bring them here, for what follows:

```python
import fsspec
import pyarrow.parquet as pq
for tar in pq.read_table("shards.parquet").to_pylist():
    system, path = fsspec.url_to_fs(tar["url"])
    system.get_file(path, tar["name"])
```
"""


def write_card(out: Path, store: str | None = None, pictures_once: bool = False) -> None:
    """Write README.md of a finished folder of tars, from its index.parquet and shards.parquet.

    `store`: where the tars are, if not here; `pictures_once`: a picture may be a link to an earlier one.
    """
    index = pq.read_table(out / "index.parquet", columns=["source", "num_images", "image_fields"])
    shards = pq.read_table(out / "shards.parquet", columns=["size_bytes"])
    fields = sorted(pc.unique(pc.list_flatten(index["image_fields"])).to_pylist())
    counts = sorted((row["values"], row["counts"]) for row in pc.value_counts(index["source"]).to_pylist())
    text = _TEXT_OF_CARD.format(
        num_records=len(index),
        num_shards=len(shards),
        num_images=pc.sum(index["num_images"]).as_py(),
        num_text_only=pc.sum(pc.equal(index["num_images"], 0)).as_py(),
        size=pc.sum(shards["size_bytes"]).as_py() / 1e6,
        sources="\n".join(f"| {name} | {count:,} |" for name, count in counts),
        last=len(shards) - 1,
        once=_TEXT_OF_LINKS if pictures_once else "",
        elsewhere=_TEXT_OF_STORE.format(store=store) if store else "",
        first_field=next(iter(fields), "json"),
    )
    (out / "README.md").write_text(f"---\n{head(fields)}---\n{text}", encoding="utf-8")


def head(image_fields: Iterable[str]) -> str:
    """Write the card's YAML: which files are the data, and every column, the images among them by their member names."""
    features = [{"name": "json", "struct": _RECORD}]
    features += [{"name": field, "dtype": "image"} for field in image_fields]
    features += [{"name": name, **_TEXT} for name in ("__key__", "__url__")]
    data = {
        "configs": [{"config_name": "default", "data_files": "shard-*.tar"}],
        "dataset_info": {"features": features},
    }

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump(data, Dumper=Plain, sort_keys=False)
