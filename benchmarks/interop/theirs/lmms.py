"""lmms-eval: the questions as a task of its own making, by its command line; said is what its log of samples says."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

UTILS = """
from PIL import Image


def pictures(doc):
    return [Image.open(doc["picture"]).convert("RGB")]


def question(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def results(doc, results):
    return {"answered": float(bool(results[0]))}
"""


def main(given: dict) -> dict:
    """Write the task's files, evaluate the model on it, read the samples back."""
    home = Path.cwd() / "toy_task"
    home.mkdir()
    rows = "".join(json.dumps(row) + "\n" for row in given["asked"])
    (home / "asked.jsonl").write_text(rows)
    (home / "utils.py").write_text(UTILS)
    (home / "toy_asked.yaml").write_text(task(home / "asked.jsonl", given["max_new_tokens"]))
    words = ["--model", given["model"], "--model_args", given["model_args"], "--tasks", "toy_asked"]
    words += ["--include_path", str(home), "--batch_size", str(given["batch_size"]), "--output_path", "told"]
    ran = subprocess.run(
        [sys.executable, "-m", "lmms_eval", *words, "--log_samples"], capture_output=True, text=True, check=False
    )
    logs = sorted(Path("told").rglob("*samples_toy_asked*.jsonl"))
    if ran.returncode or not logs:
        sys.exit((ran.stderr.strip() or ran.stdout.strip() or "nothing was said").splitlines()[-1])
    samples = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    samples.sort(key=lambda sample: sample["doc_id"])
    return {"version": version("lmms_eval"), "said": [first(sample["filtered_resps"]).strip() for sample in samples]}


def task(questions: Path, most: int) -> str:
    """Give the task as lmms-eval reads it."""
    return f"""
task: toy_asked
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.pictures
doc_to_text: !function utils.question
doc_to_target: question
process_results: !function utils.results
generation_kwargs: {{max_new_tokens: {most}, temperature: 0, do_sample: false}}
metric_list:
  - {{metric: answered, aggregation: mean, higher_is_better: true}}
"""


def first(value: object) -> str:
    """Take the text out of the lists that it may be in."""
    while isinstance(value, list):
        value = value[0]
    return str(value)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
