"""A person's own data: photographs that scikit-image ships, a LLaVA-style JSON, a POPE-style file, a recipe; and a run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tinyllava_core.lineage.store import open_read_only

CLONE = Path(__file__).parents[2]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a person works: data, recipe, workspace, and the server that the runs report to."""

    folder: Path
    server: str

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def recipe(self) -> Path:
        return self.folder / "photographs.yaml"

    def command(self, *settings: str) -> list[str]:
        command = [sys.executable, "-m", "flows", str(self.recipe), "--workspace", str(self.workspace)]
        return [*command, *(word for setting in settings for word in ("--set", setting))]

    def environment(self) -> dict[str, str]:
        return os.environ | {"PREFECT_API_URL": self.server, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}

    def run(self, *settings: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the pipeline, as a person would, to its end."""
        ran = subprocess.run(
            self.command(*settings), env=self.environment(), cwd=CLONE, capture_output=True, text=True, check=False
        )
        assert ran.returncode == code, f"{ran.stdout}\n{ran.stderr}"
        return ran

    def ask(self, sql: str) -> list[tuple]:
        with open_read_only(self.workspace) as connection:
            return connection.execute(sql).fetchall()

    def made_by_last_run(self) -> list[str]:
        """Name the stages that the last run had to make, in its order."""
        last = "(SELECT run_id FROM run ORDER BY started_at DESC LIMIT 1)"
        rows = self.ask(f"SELECT stage, name FROM stage WHERE made AND run_id = {last} ORDER BY started_at")
        return [stage if name in ("", stage) else f"{stage} {name}" for stage, name in rows]


@pytest.fixture(scope="session")
def desk(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with everything on it, and nothing run yet."""
    import skimage.data
    from PIL import Image

    folder = tmp_path_factory.mktemp("desk")
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
    for stage in ("pretrain", "sft"):
        recipe[stage]["mix"] = [{"source": str(folder / "my-photographs.yaml")}]
    recipe["pretrain"]["max_lost_fraction"] = 0.2
    recipe["evaluate"]["benchmarks"] = [str(folder / "my-questions.yaml")]
    made = Desk(folder=folder, server=prefect_server)
    made.recipe.write_text(yaml.safe_dump(recipe))
    return made


def write_manifest(folder: Path, name: str, **fields: object) -> None:
    manifest = {"name": name, "images": [{"folder": "pictures"}], **fields}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))


@pytest.fixture(scope="session")
def first_run(desk: Desk) -> tuple[Desk, str]:
    """The desk after one run, and what that run printed."""
    return desk, desk.run().stdout
