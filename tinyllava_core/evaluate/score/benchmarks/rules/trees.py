"""How far one tree is from another, and what that makes of a table or a document that was written out.

Source: Zhang and Shasha 1989; TEDS of PubTabNet, Zhong et al. 2020, arXiv 1911.10683; OCRBench v2 `TEDS_metric.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinyllava_core.errors import BadInput

TABLE = "<html><body><table>{}</table></body></html>"
_FENCE = re.compile(r"```(?:python|json)?\n(.*?)\n```", re.DOTALL | re.IGNORECASE)
_NAMED = re.compile(r"^\s*\w+\s*=\s*")
_SPECIAL = re.compile(r"<bos>|<eos>|<pad>|<unk>")


@dataclass(slots=True)
class Tree:
    """A node with a label of any kind, and what hangs on it."""

    label: Any
    children: list[Tree] = field(default_factory=list)

    def __iter__(self) -> Iterator[Tree]:
        """Give the node, then all below it, in reading order."""
        yield self
        for child in self.children:
            yield from child


def tree_distance(one: Tree, other: Tree, change: Callable[[Any, Any], float]) -> float:
    """Give the least cost of making one tree the other: a node in or out costs 1, a label changed `change`."""
    (labels, lefts, roots), (others, other_lefts, other_roots) = _numbered(one), _numbered(other)
    between = [[0.0] * len(others) for _ in labels]
    costs = [[change(mine, theirs) for theirs in others] for mine in labels]
    for root in roots:
        for other_root in other_roots:
            _forests(root, other_root, lefts, other_lefts, costs, between)
    return between[-1][-1]


def _numbered(tree: Tree) -> tuple[list[Any], list[int], list[int]]:
    """Number the nodes bottom up -> (labels, each one's leftmost leaf, the roots of the forests to compare)."""
    labels: list[Any] = []
    lefts: list[int] = []

    def visit(node: Tree) -> int:
        below = [visit(child) for child in node.children]
        labels.append(node.label)
        lefts.append(below[0] if below else len(labels) - 1)
        return lefts[-1]

    visit(tree)
    last = {left: number for number, left in enumerate(lefts)}
    return labels, lefts, sorted(last.values())


def _forests(
    root: int,
    other_root: int,
    lefts: Sequence[int],
    other_lefts: Sequence[int],
    costs: Sequence[Sequence[float]],
    between: list[list[float]],
) -> None:
    """Fill in the distances of all subtrees that start at the same leaves as the two roots do."""
    start, other_start = lefts[root], other_lefts[other_root]
    width = other_root - other_start + 2
    rows = [[float(column) for column in range(width)]]
    for node in range(start, root + 1):
        row = [rows[-1][0] + 1]
        for column in range(1, width):
            other = other_start + column - 1
            least = min(rows[-1][column], row[-1]) + 1
            if lefts[node] == start and other_lefts[other] == other_start:
                least = min(least, rows[-1][column - 1] + costs[node][other])
                between[node][other] = least
            else:
                before = rows[lefts[node] - start][other_lefts[other] - other_start]
                least = min(least, before + between[node][other])
            row.append(least)
        rows.append(row)


def table_similarity(said: str, gold: str) -> float:
    """Compare two HTML pages' first tables (TEDS): 1 - distance / nodes of the larger; 0 where one page has none.

    A cell's text is compared letter by letter, its tags are one letter each. Raises BadInput without lxml.
    """
    (one, size), (other, other_size) = _table(said), _table(gold)
    if one is None or other is None or not max(size, other_size):
        return 0.0
    return 1 - tree_distance(one, other, _cells_differ) / max(size, other_size)


def _table(page: str) -> tuple[Tree | None, int]:
    """Give the tree down to the cells, and how many nodes are below the table, those in cells too."""
    try:
        from lxml import etree, html
    except ModuleNotFoundError:
        raise BadInput("tables are compared with lxml: pip install 'tinyllava-pipelines[ocrbench]'") from None
    try:
        parser = html.HTMLParser(remove_comments=True, encoding="utf-8")
        found = html.fromstring(page.encode(), parser=parser).xpath("body/table")
        return (_tree(found[0]), len(found[0].xpath(".//*"))) if found else (None, 0)
    except (etree.LxmlError, ValueError, RecursionError):
        return None, 0


def _tree(node: Any) -> Tree:
    if node.tag != "td":
        return Tree((node.tag, 1, 1, ()), [_tree(child) for child in node])
    spans = (int(node.attrib.get(name, "1")) for name in ("colspan", "rowspan"))
    return Tree((node.tag, *spans, tuple(_letters(node)[1:-1])))


def _letters(node: Any) -> list[str]:
    found = [f"<{node.tag}>", *(node.text or "")]
    for child in node:
        found += _letters(child)
    found += [] if node.tag == "unk" else [f"</{node.tag}>"]
    return found + ([] if node.tag == "td" else list(node.tail or ""))


def _cells_differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> float:
    from rapidfuzz.distance import Levenshtein

    if one[:3] != other[:3]:
        return 1.0
    text, other_text = one[3], other[3]
    if text == other_text:
        return 0.0
    return Levenshtein.distance(text, other_text) / max(len(text), len(other_text))


def html_table(text: str) -> str:
    """Cut the table's HTML out of a reply, with the tags around it that are missing; "": there is none."""
    line = text.replace("\n", "")
    start = next((place for tag in ("<body", "<table") if (place := line.find(tag)) >= 0), None)
    return "" if start is None else wrapped(line[start:])


def wrapped(table: str) -> str:
    """Put the tags around a table's HTML that are missing."""
    table = table.replace("\n", "")
    table = table if "<table" in table or "</table>" in table else f"<table>{table}</table>"
    table = table if "</table>" in table else f"{table}</table>"
    table = table if "<table" in table else f"<table>{table}"
    table = table if "<body>" in table else f"<body>{table}</body>"
    return table if "<html>" in table else f"<html>{table}</html>"


def markdown_table(text: str) -> str:
    """Write a Markdown table as HTML: its first line and those from the third on, cells between the outer bars."""
    lines = text.strip("`markdown").strip("`").strip().split("\n")
    rows = [[cell.strip() if set(cell) != {" "} else " " for cell in line.strip().split("|")[1:-1]]
            for line in (lines[0], *lines[2:])]  # fmt: skip
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return TABLE.format("".join(f"<tr>{row}</tr>" for row in cells)).replace("\n", "")


def chart_table(values: dict[Any, Any]) -> str:
    """Write a chart's values as an HTML table of two columns, a value's letters with blanks between them."""
    rows = (f"  <tr><td>{name}</td><td>{' '.join(str(value))}</td></tr>\n" for name, value in values.items())
    return TABLE.format("\n" + "".join(rows))


def chart_values(text: str) -> dict[Any, Any]:
    """Read the dictionary in a reply: its longest fenced block or all of it, a name before it and comments off; {}: none."""
    content = _NAMED.sub("", max(_FENCE.findall(text), key=len, default=text).strip(), count=1)
    content = re.sub(r"#.*", "", content)
    try:
        found = ast.literal_eval(content[: content.rfind("}") + 1 or None])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def document_similarity(said: str, gold: str) -> float:
    """Compare two documents in Markdown by their outline: 1 - distance / nodes of the larger.

    Each line hangs on the heading before it, headings on the root. Whether a line is blank counts, not what it says.
    """
    one, other = _outline(said), _outline(gold)
    distance = tree_distance(one, other, lambda mine, theirs: float(not mine.split() or not theirs.split()))
    return 1 - distance / max(sum(1 for _ in tree) for tree in (one, other))


def _outline(text: str) -> Tree:
    root = Tree("ROOT", [Tree("TITLE")])
    heading = ""
    for line in text.split("\n"):
        line = re.sub(r"\s##(\S)", r"\1", _SPECIAL.sub("", line)).replace("*", " ").replace("_", " ")
        if line.startswith("#"):
            heading = line.replace("#", "")
            root.children.append(Tree(heading))
        else:
            wanted = heading or "TITLE"
            next(node for node in root if node.label == wanted).children.append(Tree(line))
    return root
