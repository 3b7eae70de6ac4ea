"""What a run prints at its end, where that is no terminal but a file of 80 columns."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from flows.__main__ import print_whole, score_table
from tasks.report import Outcome
from tinyllava_core.report.scores import Measured, ScoreRow


def test_no_number_of_the_score_table_is_cut_in_a_log() -> None:
    row = ScoreRow(
        benchmark="a-benchmark-with-a-long-name-of-its-own",
        metric="accuracy of short answers, as its authors have it",
        seen=Measured(score=59.5, stderr=1.0),
        blind=Measured(score=24.4, stderr=1.1),
        num_questions=2537,
        num_unparsed=0,
    )
    outcome = Outcome(scores=(row,), checkpoint=Path(), report=Path(), lineage=Path())
    written = io.StringIO()
    print_whole(Console(file=written, width=80), score_table(outcome))
    (line,) = (line for line in written.getvalue().splitlines() if "59.5" in line)
    for word in (row.benchmark, row.metric, "59.5 ± 1.0", "24.4 ± 1.1", "2,537"):
        assert word in line
    assert "…" not in written.getvalue()
