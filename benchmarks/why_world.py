"""The small world of docs/why.md: eight sources of one-question records cut from the toy world's conversations, a recipe,
and a study of their mixes.

`python benchmarks/why_world.py FOLDER --workspace WORKSPACE` (a workspace with a finished toy run). `--each N` takes N records of a
kind, not 150 (400 at most); `--full` keeps the conversations whole instead: the toy recipe's own records. `--wrong N` gives N answers to
questions for a colour another colour and lists their records in planted.txt; `--found CHECKPOINT` then says how well that training's
losses find them. It trains nothing.
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

PLANTED, HARDEST, ANSWERS = "planted.txt", "hardest.txt", "answers.json"
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
    "description": "one-question records of eight kinds",
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

DRAWS = 22  # of mixes with half of the records


def main() -> int:
    """Write the sources and the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument(
        "--full", action="store_true", help="the toy recipe's conversations as they are, not one question each"
    )
    parser.add_argument("--each", type=int, default=150, metavar="N", help="records of a kind")
    parser.add_argument("--wrong", type=int, default=0, metavar="N", help="answers that get another colour")
    parser.add_argument("--found", metavar="CHECKPOINT", help="how well a training's losses find the wrong ones")
    given = parser.parse_args()
    if given.found:
        find_planted(given.folder, given.workspace, given.found)
        return 0
    chat = next(
        artifact
        for path in (given.workspace / "artifacts/download").glob("[0-9a-f]*/result.json")
        if (artifact := Artifact(stage="download", fingerprint=path.parent.name, folder=path.parent))
        .result(DownloadResult)
        .source
        == "toy-chat"
    )
    if given.full:
        write_full(chat, given.folder.resolve(), given.wrong)
        return 0
    pretrain = next((given.workspace / "artifacts/pretrain").glob("[0-9a-f]*"))
    write(chat, pretrain.name, given.folder.resolve(), given.each, given.wrong)
    return 0


def write(chat: Artifact, pretrain: str, home: Path, each: int, wrong: int) -> None:
    """Cut the conversations, write eight sources, and the recipe that trains on them from the toy run's pretrain checkpoint."""
    told = chat.result(DownloadResult)
    assert told.annotations is not None
    kinds: dict[str, list[dict]] = {kind: [] for kind in ASKED}
    for record in json.loads((chat.folder / told.annotations).read_text()):
        turns = record["conversations"]
        for asked, said in zip(turns[::2], turns[1::2], strict=True):
            text, kind = asked_for(asked["value"])
            if kind is None or "image" not in record or len(kinds[kind]) >= each:
                continue  # the first record that asks it and has said nothing yet
            if any(record["id"] == taken["id"] for rows in kinds.values() for taken in rows):
                continue
            human = {"from": "human", "value": f"<image>\n{text}{SHORT_ANSWER}"}
            kinds[kind].append({"id": record["id"], "image": record["image"], "conversations": [human, {**said}]})
            break
    home.mkdir(parents=True, exist_ok=True)
    planted = plant(
        {f"why-colour-{place:08d} 0": row["conversations"][1] for place, row in enumerate(kinds["colour"])}, wrong, home
    )
    for kind, rows in kinds.items():
        assert len(rows) == each, (kind, len(rows))
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
    mixes = {"records": each * len(kinds) // 2, "draws": DRAWS}
    study = {"name": f"{home.name}-mixes", "recipe": str(home / "recipe.yaml"), "orders": [0, 1, 2], "mixes": mixes}
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
    print(f"{home / 'recipe.yaml'}: {each * len(kinds)} records of {len(kinds)} kinds, {len(planted)} wrong")


def write_full(chat: Artifact, home: Path, wrong: int) -> None:
    """Write the toy recipe's large source once more, conversations whole, and the recipe that trains on it as the toy recipe does."""
    told = chat.result(DownloadResult)
    assert told.annotations is not None
    home.mkdir(parents=True, exist_ok=True)
    rows = json.loads((chat.folder / told.annotations).read_text())
    answers = {
        f"why-chat-{place:08d} {turn}": said
        for place, row in enumerate(rows)
        for turn, (asked, said) in enumerate(zip(row["conversations"][::2], row["conversations"][1::2], strict=True))
        if asked_for(asked["value"])[1] == "colour"
    }
    planted = plant(answers, wrong, home)
    (home / "chat.json").write_text(json.dumps(rows))
    manifest = {
        "kind": "source",
        "name": "why-chat",
        "licence": "Apache-2.0",
        "annotations": {"path": "chat.json", "format": "llava"},
        "images": [{"folder": str(chat.folder / told.image_root)}],
    }
    (home / "chat.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    mix = [{"source": str(home / "chat.yaml")}, {"source": "toy-places"}]
    recipe = {"name": home.name, "extends": "toy", "export": None, "sft": {"mix": mix}, "evaluate": {"blind": False}}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    print(f"{home / 'recipe.yaml'}: {len(rows)} conversations, {len(planted)} of {len(answers)} colours wrong")


def asked_for(said: str) -> tuple[str, str | None]:
    """Give a question without what stands around it, and what kind it is of."""
    text = said.rpartition("<image>\n")[2].removesuffix(SHORT_ANSWER).rpartition("\n")[2]
    return text, next((kind for kind, words in ASKED.items() if re.search(words, text)), None)


def plant(answers: dict[str, dict], wrong: int, home: Path) -> list[str]:
    """Give some answers ("record turn" -> as it is said) another colour, one of a record at most -> which; list them in files."""
    of_record: dict[str, list[str]] = {}
    for name in answers:
        of_record.setdefault(name.split()[0], []).append(name)
    chance, records = random.Random(0), list(of_record)
    chosen = {}
    for place in sorted(chance.sample(range(len(records)), wrong)):
        mine = of_record[records[place]]
        chosen[records[place]] = name = mine[place % len(mine)]
        said = answers[name]
        said["value"] = chance.choice([colour for colour in COLOURS if colour != said["value"]])
    (home / PLANTED).write_text("".join(f"{record}\n" for record in chosen))
    (home / ANSWERS).write_text(json.dumps({"alike": list(answers), "wrong": list(chosen.values())}))
    return list(chosen.values())


def find_planted(home: Path, workspace: Path, checkpoint: str) -> None:
    """Print how often a planted answer has a higher loss a token than another (AUC), and how many stand among the first."""
    listed = json.loads((home / ANSWERS).read_text())
    table = pq.read_table(trained(workspace, checkpoint).folder / "record_losses.parquet")
    records, turns = table["record_id"].to_pylist(), table["turn"].to_pylist()
    names = np.array([f"{record} {turn}" for record, turn in zip(records, turns, strict=True)])
    is_wrong, is_alike = np.isin(names, listed["wrong"]), np.isin(names, listed["alike"])
    loss, count = table["loss_sum"].to_numpy() / table["num_supervised"].to_numpy(), len(listed["wrong"])
    hardest = np.array(records)[np.argsort(-loss)[:count]]
    (home / HARDEST).write_text("".join(f"{name}\n" for name in dict.fromkeys(hardest)))
    print(
        f"| among | answers | planted | AUC | in the first {count} | in the first {2 * count} |\n|---|---|---|---|---|---|"
    )
    for words, which in (("all", np.ones(len(loss), bool)), ("colours alone", is_alike)):
        wrong, value = is_wrong[which], loss[which]
        higher = (value[wrong][:, None] > value[~wrong]).mean() + (value[wrong][:, None] == value[~wrong]).mean() / 2
        first = [100 * wrong[np.argsort(-value)[:some]].sum() / wrong.sum() for some in (count, 2 * count)]
        print(f"| {words} | {len(value):,} | {wrong.sum()} | {higher:.2f} | {first[0]:.0f} % | {first[1]:.0f} % |")


if __name__ == "__main__":
    sys.exit(main())
