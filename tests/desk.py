"""A person's own data: photographs that scikit-image ships, a LLaVA-style JSON, a POPE-style file, and a recipe for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

PICTURES = {
    "astronaut": "a woman in an orange space suit",
    "chelsea": "a cat that looks at you",
    "coffee": "a cup of coffee on a table",
    "rocket": "a rocket on its way up",
    "horse": "the shape of a horse",
    "coins": "coins, laid out in rows",
    "page": "a page of a book",
    "moon": "the surface of the moon",
}
RECIPE = {
    "name": "photographs",
    "description": "a person's own data, small enough for a test",
    "shard": {"records_per_shard": 3},
    "model": {"vision": "toy-vit", "language": "toy-llama"},
    "pretrain": {
        "prompt": "plain",
        "max_length": 160,
        "global_batch": 4,
        "lr": 1e-3,
        "precision": "fp32",
        "data_workers": 0,
    },
    "sft": {
        "max_length": 160,
        "global_batch": 2,
        "epochs": 20,  # 80 steps: time enough to kill it
        "lr": 5e-4,
        "precision": "fp32",
        "data_workers": 0,
        "save_every": 4,
        "max_lost_fraction": 0.2,
        "language": {"trainable_from_layer": 0},
    },
    "evaluate": {"precision": "fp32"},
}


def lay_out(folder: Path, **sft: Any) -> Path:
    """Put everything into `folder`, with some fields of stage sft set -> the recipe's file."""
    import skimage.data
    from PIL import Image

    (folder / "pictures").mkdir()
    for name in PICTURES:
        Image.fromarray(getattr(skimage.data, name)()).convert("RGB").save(folder / "pictures" / f"{name}.jpg")
    conversations = [
        {
            "id": name,
            "image": f"{name}.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is this?"},
                {"from": "gpt", "value": f"This is {text}."},
            ],
        }
        for name, text in [*PICTURES.items(), ("lost", "a picture that is not there")]
    ]
    (folder / "photographs.json").write_text(json.dumps(conversations))
    questions = [
        {"question_id": number, "image": f"{name}.jpg", "text": f"Is there {thing} in the image?", "label": label}
        for number, (name, thing, label) in enumerate(
            [
                ("chelsea", "a cat", "yes"),
                ("coffee", "a cat", "no"),
                ("rocket", "a rocket", "yes"),
                ("moon", "a cup", "no"),
            ]
        )
    ]
    (folder / "questions.json").write_text("".join(json.dumps(question) + "\n" for question in questions))
    write_manifest(folder, "my-photographs", annotations={"path": "photographs.json", "format": "llava"})
    write_manifest(folder, "my-questions", kind="benchmark", scorer="pope", annotations={"path": "questions.json"})
    recipe = json.loads(json.dumps(RECIPE))
    recipe["sft"] |= sft
    for stage in ("pretrain", "sft"):
        recipe[stage]["mix"] = [{"source": str(folder / "my-photographs.yaml")}]
    recipe["pretrain"]["max_lost_fraction"] = 0.2
    recipe["evaluate"]["benchmarks"] = [str(folder / "my-questions.yaml")]
    file = folder / "photographs.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


def write_manifest(folder: Path, name: str, **fields: object) -> None:
    manifest = {"name": name, "images": [{"folder": "pictures"}], **fields}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))
