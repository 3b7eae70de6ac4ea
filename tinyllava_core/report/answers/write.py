"""Write the answers browser: one folder that a browser opens from the disk, with no server and no network.

`answers.html` holds the page; each benchmark's questions are a script of their own that the page loads when they are
asked for, and each picture a file that it loads when it comes into view. (A page from the disk may load scripts, but not
read files: so the data are scripts.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyllava_core.report.answers.collect import Answered, Asked, collect
from tinyllava_core.report.answers.pictures import write_small
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.report.html import render, verbatim

HERE = Path(__file__).parent
PAGE, DATA, PICTURES = "answers.html", "answers", "pictures"
_DIGITS = 4  # of an item's score


def write_answers(runs: Sequence[RunFacts], folder: Path, back: str | None = None) -> Path:
    """Write the browser of the first run's answers, the others beside them, into `folder` -> the page. `back`: a link to the page of the run, or of several."""
    (folder / DATA).mkdir(parents=True, exist_ok=True)
    benchmarks = []
    for asked in collect(runs):
        pictures = write_small((name for names in asked.pictures for name in names), asked.images, folder / PICTURES)
        data = json.dumps(columns(asked, pictures), ensure_ascii=False, separators=(",", ":"))
        (folder / DATA / f"{asked.name}.js").write_text(
            f"loaded({json.dumps(asked.name)},{data});\n", encoding="utf-8", errors="backslashreplace"
        )
        seen = asked.answered[0]
        benchmarks.append(
            {
                "name": asked.name,
                "metric": asked.metric,
                "score": seen.score,
                "scores": {one.run: one.score for one in asked.answered if one.condition == seen.condition},
                "stderr": seen.stderr,
                "count": len(asked.ids),
            }
        )
    page = render(
        HERE / PAGE,
        run=runs[0],
        title=runs[0].title or runs[0].run_id,
        others=[run.title or run.run_id for run in runs[1:]],
        back=back,
        benchmarks=benchmarks,
        script=verbatim(HERE / "answers.js"),
    )
    (folder / PAGE).write_text(page, encoding="utf-8", errors="backslashreplace")
    return folder / PAGE


def columns(asked: Asked, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Lay a benchmark out in columns, one value a question; answers and scores a column for each who answered."""
    kinds = {kind: number for number, kind in enumerate(sorted({kind for of in asked.kinds for kind in of}))}
    names = {name: number for number, name in enumerate(dict.fromkeys(name for of in asked.pictures for name in of))}
    first = asked.answered[0]
    return {
        "ids": list(asked.ids),
        "texts": list(asked.texts),
        "gold": list(asked.gold),
        "names": list(names),
        "files": [pictures.get(name) for name in names],
        "pictures": [[names[name] for name in of] for of in asked.pictures],
        "kinds": list(kinds),
        "kind": [[kinds[kind] for kind in of] for of in asked.kinds],
        "trained": [int(any(name in asked.trained_on for name in of)) for of in asked.pictures],
        "by": [_answers(one, asked, one.prompt_sha256 == first.prompt_sha256) for one in asked.answered],
    }


def _answers(one: Answered, asked: Asked, asked_alike: bool) -> dict[str, Any]:
    rows = [one.rows.get(question_id, {}) for question_id in asked.ids]
    return {
        "run": one.run,
        "id": one.run_id,
        "condition": one.condition,
        "score": one.score,
        "asked_alike": asked_alike,
        "answers": [row.get("answer") for row in rows],
        "parsed": [row.get("parsed") for row in rows],
        "scores": [None if row.get("score") is None else round(row["score"], _DIGITS) for row in rows],
        "unparsed": [int(bool(row.get("unparsed"))) for row in rows],
    }
