"""What a benchmark's authors tell their judge, read out of their own script without running it.

Such a prompt has to be theirs to the letter, and is not ours to ship. Not the asking (judge.py), and no rule of a benchmark.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, read_text

_SLOT = re.compile("\x01(.*?)\x02", re.DOTALL)  # around the source text of what the script fills in there


def authors_prompt(files: Files, script: str, name: str, *, where: str, function: str | None = None) -> str:
    """Read the text that a script of the authors builds up in the variable `name`, in one function or anywhere.

    The script is `files.questions`, or lies under its own name beside the annotations. `where`: where a person gets it.
    Raises BadInput if it is not there, or holds no such text.
    """
    beside = files.annotations if files.annotations.is_dir() else files.annotations.parent
    path = files.questions or beside / script
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; variant judge takes the judge's prompt out of the authors' {script} ({where}): put it "
            "there (nothing in it is run), or choose a variant without a judge"
        )
    try:
        tree: ast.AST = ast.parse(read_text(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadInput(f"{path}: not a Python file; expected the authors' {script} ({where})") from None
    if function is not None:
        tree = next((node for node in ast.walk(tree) if _is_function(node, function)), ast.Module([], []))
    try:
        text = "".join(_text(node) for node in _assignments(tree, name))
    except RecursionError:
        text = ""
    if not text:
        raise BadInput(f"{path}: no text {name!r} in it; expected the authors' {script} ({where})")
    return text


def slots(prompt: str) -> list[str]:
    """List what the script fills in, as it is written there."""
    return _SLOT.findall(prompt)


def filled(prompt: str, values: Mapping[str, str]) -> str:
    """Put values in. Raises BadInput if the script fills in something else than is known here: another version of it."""
    unknown = sorted(set(slots(prompt)) - set(values))
    if unknown:
        raise BadInput(f"the authors' prompt fills in {unknown[0]!r}; expected only {', '.join(sorted(values))}")
    return _SLOT.sub(lambda found: values[found.group(1)], prompt)


def _is_function(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _assignments(tree: ast.AST, name: str) -> list[ast.expr]:
    """Give what is assigned or added to a variable, in the order of the file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            found.append(node)
    return [node.value for node in sorted(found, key=lambda node: node.lineno)]


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    return f"\x01{ast.unparse(inner)}\x02"
