"""How long a filter of the answers browser takes, in headless Chromium, by the number of questions. Prints a table.

    python benchmarks/answers_page.py --workspace WORKSPACE

The questions are those of the newest run, with their real answers, repeated until there are enough.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import browser

from tinyllava_core.report.answers.write import write_answers
from tinyllava_core.report.gather import gather_named

FILTERS = ("wrong", "right", "guessed", "seen", "other")
REPEATS = 9


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--questions", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, browser() as opened:
        folder = Path(home)
        page_file = write_answers([gather_named(args.workspace, "latest")], folder)
        data = max((folder / "answers").glob("*.js"), key=lambda path: path.stat().st_size)
        whole = data.read_text(encoding="utf-8")
        print(
            "questions    data   opens   a filter, median / worst   words, median / worst   CPU of the page: a filter / words"
        )
        for count in args.questions:
            repeat(whole, data, count)
            page = opened.new_page(viewport={"width": 1280, "height": 860})
            page.goto(f"{page_file.as_uri()}#b={data.stem}")
            page.wait_for_selector(".row")
            opens = float(page.evaluate("document.body.dataset.ms"))
            clock = page.context.new_cdp_session(page)
            clock.send(
                "Performance.enable", {"timeDomain": "threadTicks"}
            )  # CPU time: a busy machine does not add to it
            before = cpu_ms(clock)
            clicks = [timed(page, f"toggle('{name}')") for _ in range(REPEATS) for name in FILTERS]
            between = cpu_ms(clock)
            page.evaluate("state.flags.clear()")
            words = [
                timed(page, f"set({{words: '{word}'}})") for _ in range(REPEATS) for word in ("how", "how many", "")
            ]
            spent = ((between - before) / len(clicks), (cpu_ms(clock) - between) / len(words))
            size = data.stat().st_size / 1e6
            print(
                f"{count:9,} {size:5.1f} MB {opens:4.0f} ms {statistics.median(clicks):12.1f} / {max(clicks):5.1f} ms"
                f" {statistics.median(words):12.1f} / {max(words):5.1f} ms {spent[0]:16.1f} / {spent[1]:.1f} ms"
            )
            page.close()
        shutil.rmtree(folder / "pictures")


def repeat(whole: str, data: Path, count: int) -> None:
    """Write the data script with so many questions: its own, over and over, each under an id of its own."""
    name, columns = json.loads(f"[{whole.removeprefix('loaded(').removesuffix(');' + chr(10))}]")
    num = len(columns["ids"])

    def longer(values: list[Any]) -> list[Any]:
        return [values[place % num] for place in range(count)]

    for key in ("texts", "gold", "pictures", "kind", "trained"):
        columns[key] = longer(columns[key])
    columns["ids"] = list(range(count))
    for by in columns["by"]:
        for key in ("answers", "parsed", "scores", "unparsed"):
            by[key] = longer(by[key])
    data.write_text(f"loaded({json.dumps(name)},{json.dumps(columns)});\n", encoding="utf-8")


def cpu_ms(clock: Any) -> float:
    """Give the CPU time that the page's thread has spent so far, in milliseconds."""
    told = {one["name"]: one["value"] for one in clock.send("Performance.getMetrics")["metrics"]}
    return 1000 * float(told["TaskDuration"])


def timed(page: Any, action: str) -> float:
    """Do something in the page, and wait until it is drawn -> milliseconds."""
    script = f"async () => {{ const t = performance.now(); {action}; await new Promise(requestAnimationFrame); return performance.now() - t; }}"
    return float(page.evaluate(script))


if __name__ == "__main__":
    main()
