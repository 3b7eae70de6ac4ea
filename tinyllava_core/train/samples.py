"""What the model saw first: the records of the first packed sequence, as tokens and pixels, written down for people. It trains nothing.

They are read from the very tensors that the first step trains on, so that a page can show what no re-reading of the data could
prove: which tokens carry a loss, and what is left of the picture at the encoder's size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby, repeat
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.plan.reading import kind_of
from tinyllava_core.data.tensors.example import Pack
from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.data.tensors.tiles import whole
from tinyllava_core.tokenizer import Tokenizer

FILE, PICTURES = "samples.jsonl", "samples"
MOST = 4  # records


def leave_samples(packs: PlannedPacks, out: Path) -> None:
    """Write samples.jsonl, and samples/*.png, of the first pack of step 0 into `out`: one line a record.

    A line: slot in the pack, its `spans` (kind: image, learned or read; text, ids), and its `pictures`, cut ones tile by tile. Pixels that a stage
    does not have, because it trains on kept features, are no pictures.
    """
    pack = packs[0, 0]
    assert packs.tokenizer is not None
    (out / PICTURES).mkdir(exist_ok=True)
    shapes = pack.order.shapes_N2 if pack.order else None
    pixels = map(whole, pack.every_pixel, repeat(None) if shapes is None else shapes.tolist())
    rows = []
    for slot in range(min(MOST, int(pack.record_T[-1]) + 1)):
        spans = list(_spans(pack, slot, packs.tokenizer))
        pictures = [_save(image, out, f"{slot}-{n}") for n, image in zip(range(pack.tiles[slot]), pixels, strict=False)]
        rows.append({"slot": slot, "spans": spans, "pictures": pictures})
    write_aside(out / FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _spans(pack: Pack, slot: int, tokenizer: Tokenizer) -> Iterator[dict[str, Any]]:
    """Cut a record of the pack where what is done with its tokens changes."""
    mine = pack.record_T == slot
    tokens = zip(pack.ids_T[mine].tolist(), pack.labels_T[mine].tolist(), strict=True)
    for kind, run in groupby(tokens, key=lambda token: kind_of(token[0], token[1], tokenizer.image_id)):
        ids = [token for token, _ in run]
        text = "" if kind == "image" else tokenizer.decode(ids, keep_special=True)
        yield {"kind": kind, "text": text, "ids": ids}


def _save(image_3HW: Tensor, out: Path, name: str) -> str:
    path = f"{PICTURES}/{name}.png"
    Image.fromarray(image_3HW.permute(1, 2, 0).numpy()).save(out / path)
    return path
