"""The small world of docs/why.md: eight sources of one-question records cut from the toy world's conversations, a recipe,
and a study of their mixes.

`python benchmarks/why_world.py FOLDER --workspace WORKSPACE` (a workspace with a finished toy run). `--wrong N` gives N of the colour
records another colour and lists them in planted.txt; `--found CHECKPOINT` then says how well that training's record losses find them.
It trains nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from tinyllava_core.artifact import Artifact
from tinyllava_core.results import DownloadResult
from tinyllava_core.toyworld.scene import COLOURS
from tinyllava_core.toyworld.text import SHORT_ANSWER
from tinyllava_core.why.found import trained

PLANTED, HARDEST = "planted.txt", "hardest.txt"
EACH = 150  # records of a kind
ASKED = {  # how the toy world asks for each kind
    "existence": "^Is there an? ",
    "colour": "^What colour ",
    "shape": "^What shape ",
    "size": "large or small",
    "count": "^How many ",
    "position": "^Where is ",
    "relation": "left or right of|above or below",
    "reading": "^What (word|number) ",
}
SETTINGS = {  # of facts measured before: 150 steps of 8, half the toy recipe's rate
    "extends": "toy",
    "description": "one-question records of eight kinds, 150 steps",
    "pretrain": None,
    "export": None,
    "sft": {
        "max_length": 512,
        "global_batch": 8,
        "lr": 5.0e-4,
        "warmup_fraction": 0.034,
        "precision": "fp32",
        "save_every": 1000,
        "data_workers": 0,
        "language": {"trainable_from_layer": 0},
        "duplicates": {"exact": None},
        "contamination": {"action": None},
    },
    "evaluate": {"benchmarks": ["toy-vqa", "toy-pope"], "blind": False, "precision": "fp32"},
}

MIXES = {"records": 600, "draws": 22}


def main() -> int:
    """Write the sources and the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--wrong", type=int, default=0, metavar="N", help="colour records that get another colour")
    parser.add_argument("--found", metavar="CHECKPOINT", help="how well a training's losses find the wrong ones")
    given = parser.parse_args()
    if given.found:
        find_planted(given.folder / PLANTED, given.workspace, given.found)
        return 0
    chat = next(
        artifact
        for path in (given.workspace / "artifacts/download").glob("[0-9a-f]*/result.json")
        if (artifact := Artifact(stage="download", fingerprint=path.parent.name, folder=path.parent))
        .result(DownloadResult)
        .source
        == "toy-chat"
    )
    pretrain = next((given.workspace / "artifacts/pretrain").glob("[0-9a-f]*"))
    write(chat, pretrain.name, given.folder.resolve(), given.wrong)
    return 0


def write(chat: Artifact, pretrain: str, home: Path, wrong: int) -> None:
    """Cut the conversations, write eight sources, and the recipe that trains on them from the toy run's pretrain checkpoint."""
    told = chat.result(DownloadResult)
    assert told.annotations is not None
    kinds: dict[str, list[dict]] = {kind: [] for kind in ASKED}
    for record in json.loads((chat.folder / told.annotations).read_text()):
        turns = record["conversations"]
        for asked, said in zip(turns[::2], turns[1::2], strict=True):
            text = asked["value"].removeprefix("<image>\n").removesuffix(SHORT_ANSWER)
            kind = next((kind for kind, words in ASKED.items() if re.search(words, text)), None)
            if kind is None or "image" not in record or len(kinds[kind]) >= EACH:
                continue  # the first record that asks it and has said nothing yet
            if any(record["id"] == taken["id"] for rows in kinds.values() for taken in rows):
                continue
            human = {"from": "human", "value": f"<image>\n{text}{SHORT_ANSWER}"}
            kinds[kind].append({"id": record["id"], "image": record["image"], "conversations": [human, {**said}]})
            break
    home.mkdir(parents=True, exist_ok=True)
    planted = plant(kinds["colour"], wrong)
    (home / PLANTED).write_text("".join(f"why-colour-{place:08d}\n" for place in planted))
    for kind, rows in kinds.items():
        assert len(rows) == EACH, (kind, len(rows))
        (home / f"{kind}.json").write_text(json.dumps(rows, indent=1))
        manifest = {
            "kind": "source",
            "name": f"why-{kind}",
            "licence": "Apache-2.0",
            "annotations": {"path": f"{kind}.json", "format": "llava"},
            "images": [{"folder": str(chat.folder / told.image_root)}],
        }
        (home / f"{kind}.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    mix = [{"source": str(home / f"{kind}.yaml")} for kind in kinds]
    recipe = {**SETTINGS, "name": home.name, "start": pretrain, "sft": {"mix": mix, **SETTINGS["sft"]}}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    study = {"name": f"{home.name}-mixes", "recipe": str(home / "recipe.yaml"), "orders": [0, 1, 2], "mixes": MIXES}
    (home / "mixes.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    if wrong:
        variants: list[dict] = [{"name": "all"}]
        for name, file in (("without the hardest 5 %", HARDEST), ("without the wrong ones", PLANTED)):
            variants.append({"name": name, "set": {"sft.void": str(home / file)}})
        study = {
            "name": f"{home.name}-curation",
            "recipe": str(home / "recipe.yaml"),
            "orders": [0, 1, 2],
            "variants": variants,
        }
        (home / "curation.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    print(f"{home / 'recipe.yaml'}: {EACH * len(kinds)} records of {len(kinds)} kinds, {len(planted)} wrong")


def plant(rows: list[dict], wrong: int) -> list[int]:
    """Give some records another colour -> their places."""
    chance = random.Random(0)
    places = sorted(chance.sample(range(len(rows)), wrong))
    for place in places:
        said = rows[place]["conversations"][1]
        said["value"] = chance.choice([colour for colour in COLOURS if colour != said["value"]])
    return places


def find_planted(listed: Path, workspace: Path, checkpoint: str) -> None:
    """Print how often a planted record has a higher loss a token than another (AUC), and how many stand among the first."""
    planted = set(listed.read_text().split())
    table = pq.read_table(trained(workspace, checkpoint).folder / "record_losses.parquet")
    is_wrong = np.array([name in planted for name in table["record_id"].to_pylist()])
    loss = table["loss_sum"].to_numpy() / table["num_supervised"].to_numpy()
    hardest = np.array(table["record_id"].to_pylist())[np.argsort(-loss)[: len(planted)]]
    listed.with_name(HARDEST).write_text("".join(f"{name}\n" for name in hardest))
    of_colour = np.array([source == "why-colour" for source in table["source"].to_pylist()])
    print("among         records  planted   AUC  in the first 60  in the first 120")
    for words, which in (("all", np.ones(len(loss), bool)), ("colour alone", of_colour)):
        wrong, value = is_wrong[which], loss[which]
        higher = (value[wrong][:, None] > value[~wrong]).mean() + (value[wrong][:, None] == value[~wrong]).mean() / 2
        first = [100 * wrong[np.argsort(-value)[:count]].sum() / wrong.sum() for count in (60, 120)]
        print(f"{words:<12}  {len(value):>7}  {wrong.sum():>7}  {higher:.2f}  {first[0]:>13.0f} %  {first[1]:>14.0f} %")


if __name__ == "__main__":
    sys.exit(main())
