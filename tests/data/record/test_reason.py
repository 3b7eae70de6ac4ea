"""docs/inspect.md tells what becomes of every reason, repair and note, and of no other."""

import re
from pathlib import Path

import pytest

from tinyllava_core.data.inspect.repair import changes_bytes
from tinyllava_core.data.record.reason import Note, Reason, Repair

PAGE = (Path(__file__).parents[3] / "docs" / "inspect.md").read_text(encoding="utf-8")


def table(head: str) -> dict[str, str]:
    """The rows of the table whose first column is `head`: word -> the rest."""
    body = PAGE.split(f"\n| {head} |")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", body, re.MULTILINE))


@pytest.mark.parametrize(("head", "names"), [("reason", Reason), ("repair", Repair), ("note", Note)])
def test_every_name_is_on_the_page_in_its_order(head, names):
    assert list(table(head)) == [name.value for name in names]


def test_the_page_says_which_repairs_change_bytes():
    assert {word: rest.endswith("| yes") for word, rest in table("repair").items()} == {
        repair.value: changes_bytes([repair]) for repair in Repair
    }
