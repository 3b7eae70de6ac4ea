"""What the README claims and a machine can check."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from tinyllava_core.lineage.query import shipped
from tinyllava_core.recipe import all_fields, known_recipes

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands() -> list[str]:
    return [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]


def test_what_cites_and_what_installs_name_one_version_and_one_licence() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.split()[1] for command in commands() if command.startswith("make ")}
    assert {"demo", "test", "up", "down"} <= named <= targets


def test_every_shipped_question_that_is_named_exists() -> None:
    named = {command.split()[2] for command in commands() if re.match(r"tinyllava query [a-z_]+$", command)}
    assert len(named) >= 2
    assert named <= set(shipped())


def test_every_setting_that_is_named_is_a_field_of_a_recipe() -> None:
    named = set(re.findall(r"--set '?([a-z_.]+)=", TEXT)) | set(re.findall(r'overrides=\{"([a-z_.]+)"', TEXT))
    assert len(named) >= 3
    assert named <= set(all_fields())
    assert set(re.findall(r"recipe=([a-z]+)", TEXT)) <= set(known_recipes())


def test_the_five_questions_have_an_answer_each() -> None:
    assert len(blocks("sql")) == 5
    assert len(re.findall(r"```sql\n.*?```\n\n```text\n", TEXT, re.DOTALL)) == 5


def test_the_deployment_that_is_named_is_the_one_in_prefect_yaml() -> None:
    assert "tinyllava/full-pipeline" in TEXT
    text = (ROOT / "prefect.yaml").read_text()
    assert "name: full-pipeline" in text
    assert "entrypoint: flows.full_pipeline:full_pipeline" in text
    assert '@flow(name="tinyllava"' in (ROOT / "flows" / "full_pipeline.py").read_text()
