"""A page of documentation that answers itself: every SQL question in it with the answer of a workspace beneath it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput

_QUESTION = re.compile(r"```sql\n(?P<sql>.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)


def answer_page(page: Path, workspace: Path) -> int:
    """Put the answer of this workspace beneath every SQL block of a Markdown page, in the place of an older one -> how many.

    Raises BadInput if the page is not there or holds no question, or a question cannot be answered.
    """
    from tinyllava_core.lineage.query import ask, confine
    from tinyllava_core.lineage.store import open_read_only
    from tinyllava_core.show import show

    if not page.is_file():
        raise BadInput(f"{page}: no such page; expected a Markdown file with ```sql blocks")

    with open_read_only(workspace) as connection:
        confine(connection, workspace)

        def answered(found: re.Match[str]) -> str:
            answer = ask(connection, found["sql"], {})
            with contextlib.redirect_stdout(io.StringIO()) as told:
                show(answer.columns, answer.rows)
            return f"```sql\n{found['sql']}```\n\n```text\n{told.getvalue()}```\n"

        text, count = _QUESTION.subn(answered, page.read_text(encoding="utf-8"))
    if not count:
        raise BadInput(f"{page}: it asks nothing; expected ```sql blocks")
    write_aside(page, text)
    return count
