"""The house rules of the code, held by reading it: who imports whom, how long a file may be, which names it may not have."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "tinyllava_core")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
# The floors of the house, from the ground up: a room may import what stands before it in this list, and nothing behind it.
FLOORS = [
    *(
        "secret",
        "errors",
        "room",
        "paths",
        "frozen",
        "durable",
        "intact",
        "artifact",
        "process_tree",
        "workers",
        "show",
        "tokenizer",
    ),
    *("data.files", "parts", "settings", "recipe", "results", "job", "checkpoints", "roads", "boards"),
    *("data.record", "data.web", "data.manifest", "data.download.table", "data.download"),
    *("data.inspect", "data.mix", "data.shard", "data.plan", "data.tensors"),
    *("estimate", "lineage", "disk", "evaluate.questions", "evaluate.score", "evaluate.compare"),
    *(
        "why",
        "curate",
        "model",
        "train",
        "evaluate.answer",
        "attribute",
        "export",
        "report",
        "study",
        "toyworld",
        "commands",
        "cli",
    ),
    *("tasks.running", "tasks", "flows"),
]
GPU_HALF = tuple(
    f"tinyllava_core/{room}/"
    for room in ("model", "train", "attribute", "export", "data/tensors", "evaluate/answer", "toyworld/make")
)
HEAVY = {"torch", "transformers", "deepspeed"}
DUCKDB = ("tinyllava_core/lineage/", "tinyllava_core/data/mix/", "tinyllava_core/data/plan/", "tinyllava_core/study/")
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
MAX_LINES, MAX_FUNCTION_LINES, MAX_MODULES = 300, 60, 20
AT_TOP = {"README.md", "Makefile", "prefect.yaml", "pyproject.toml", ".ci", ".gitignore"}
AT_TOP |= {"LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"}
AT_TOP |= {"flows", "tasks", "tinyllava_core", "data_manifests", "tests", "benchmarks", "docs"}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    """Walk a module's statements, but not those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if for_types_only(child) or (
            not inside_functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            continue
        yield child
        yield from statements(child, inside_functions)


def imports(file: Path, inside_functions: bool = True) -> set[str]:
    """Every module that a file imports, by its full name; `from a import b` counts as a.b where that is a module of ours."""
    found = set()
    for node in statements(tree_of(file), inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}: relative import; write the module's full name"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


MODULES = {module_of(file) for file in FILES}


def packages(file: Path, inside_functions: bool = True) -> set[str]:
    return {module.split(".")[0] for module in imports(file, inside_functions)}


def is_gpu_half(file: Path) -> bool:
    return name_of(file).startswith(GPU_HALF)


def under(*folders: str) -> list[Path]:
    return [file for file in FILES if name_of(file).startswith(folders)]


def test_flows_import_tasks_and_the_recipe_of_the_core() -> None:
    for file in under("flows/"):
        ours = {module for module in imports(file) if module.startswith("tinyllava_core")}
        # besides the recipe: the types that flows hand from task to task, and the fault that the command line reports
        allowed = {"tinyllava_core.recipe", "tinyllava_core.artifact", "tinyllava_core.errors"}
        assert ours <= allowed, name_of(file)


def test_flows_hold_no_torch_no_sql_and_no_try() -> None:
    for file in under("flows/"):
        assert not packages(file) & (HEAVY | {"duckdb"}), name_of(file)
        if file.name != "__main__.py":  # the command line turns exceptions into exit codes
            assert not any(isinstance(node, ast.Try) for node in ast.walk(tree_of(file))), name_of(file)


def test_tasks_import_the_cpu_half_only() -> None:
    gpu_modules = {module_of(file) for file in FILES if is_gpu_half(file)}
    for file in under("tasks/", "flows/"):
        assert not packages(file) & HEAVY, name_of(file)
        assert not imports(file) & gpu_modules, name_of(file)


def test_the_core_knows_neither_flows_nor_tasks_nor_prefect() -> None:
    for file in under("tinyllava_core/"):
        assert not packages(file) & {"flows", "tasks", "prefect"}, name_of(file)


def test_tasks_do_not_know_flows() -> None:
    for file in under("tasks/"):
        assert "flows" not in packages(file), name_of(file)


def test_the_cpu_half_never_imports_torch_transformers_or_deepspeed() -> None:
    for file in FILES:
        if not is_gpu_half(file):
            assert not packages(file) & HEAVY, name_of(file)


def test_the_cpu_half_imports_none_of_the_gpu_half() -> None:
    gpu_modules = {module_of(file) for file in FILES if is_gpu_half(file)}
    for file in under("tinyllava_core/"):
        if not is_gpu_half(file):
            assert not imports(file) & gpu_modules, name_of(file)


def test_the_gpu_half_never_imports_duckdb() -> None:
    for file in FILES:
        if is_gpu_half(file):
            assert "duckdb" not in packages(file), name_of(file)


def test_duckdb_is_opened_in_few_places() -> None:
    for file in FILES:
        if "duckdb" in packages(file):
            assert name_of(file).startswith(DUCKDB), name_of(file)


def test_data_knows_no_model_and_model_knows_no_data() -> None:
    for folder, other in (("data", "model"), ("model", "data")):
        for file in under(f"tinyllava_core/{folder}/"):
            known = {module for module in imports(file) if module.startswith(f"tinyllava_core.{other}.")}
            assert not known, name_of(file)


def room_of(module: str) -> str | None:
    """Name the room that a module stands in: the longest of FLOORS that its name begins with."""
    name = module.removeprefix("tinyllava_core.")
    return max((room for room in FLOORS if f"{name}.".startswith(f"{room}.")), key=len, default=None)


def test_every_module_stands_in_a_room() -> None:
    packages_alone = {"tinyllava_core", "tinyllava_core.data", "tinyllava_core.evaluate"}
    assert {module for module in MODULES if room_of(module) is None} == packages_alone
    assert set(map(room_of, MODULES - packages_alone)) == set(FLOORS)


def test_no_import_climbs() -> None:
    for file in FILES:
        here = room_of(module_of(file))
        for module in imports(file) & MODULES:
            there = room_of(module)
            if here is not None and there is not None:
                assert FLOORS.index(there) <= FLOORS.index(here), f"{name_of(file)} -> {module}"


def test_no_product_room_knows_the_toy_world() -> None:
    """But for the task that downloads, which gives its server to the download."""
    for file in FILES:
        if name_of(file) != "tasks/download.py" and "toyworld" not in name_of(file):
            assert not any(module.startswith("tinyllava_core.toyworld") for module in imports(file)), name_of(file)


def test_nothing_is_imported_in_a_circle() -> None:
    """Imports inside functions are left out: they happen later."""
    graph = {module_of(file): imports(file, inside_functions=False) & MODULES for file in FILES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for needed in graph[module] - {module}:
                visit(needed, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("module", ["flows.full_pipeline", "flows.__main__", "tinyllava_core.cli"])
def test_the_flow_process_stays_light(module: str) -> None:
    """Read by running it: what the imports of imports pull in."""
    ask = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip().endswith("[]"), module


def test_there_is_no_star_import() -> None:
    for file in FILES:
        for node in ast.walk(tree_of(file)):
            starred = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
            assert not starred, name_of(file)


def test_no_file_and_no_function_is_too_long() -> None:
    for file in FILES:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES, name_of(file)
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                length = node.end_lineno - node.lineno + 1
                assert length <= MAX_FUNCTION_LINES, f"{name_of(file)}: {node.name} has {length} lines"


def test_no_folder_holds_too_many_modules() -> None:
    for folder in {file.parent for file in FILES}:
        assert len([file for file in folder.glob("*.py") if file.name != "__init__.py"]) <= MAX_MODULES, folder


def test_every_module_says_what_it_is_for() -> None:
    for file in FILES:
        if file.read_text(encoding="utf-8").strip():
            assert ast.get_docstring(tree_of(file)), name_of(file)


def test_no_name_says_nothing() -> None:
    for file in FILES + sorted((ROOT / "tests").rglob("*.py")):
        words = {part.removeprefix("test_").removesuffix(".py") for part in file.relative_to(ROOT).parts}
        assert not words & FORBIDDEN_NAMES, name_of(file)


def test_the_top_of_the_clone_holds_what_the_design_says() -> None:
    ran = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        pytest.skip("not a clone")
    assert {line.split("/")[0] for line in ran.stdout.splitlines()} <= AT_TOP


def test_no_path_of_a_persons_machine_is_in_the_code() -> None:
    for file in FILES:
        for word in ("/home/", "/Users/", "/root/", "/tmp/"):
            assert word not in file.read_text(encoding="utf-8"), f"{name_of(file)}: {word}"
