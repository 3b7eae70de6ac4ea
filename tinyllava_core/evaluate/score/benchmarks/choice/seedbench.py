"""SEED-Bench, its 14,233 questions about single pictures: nine kinds, four options each.

The authors rank the options by likelihood; everything that reads a generated letter is another measurement, by harness.
LLaVA's published column "SEED" is of pictures and videos together. Source: SEED-Bench.json; lmms-eval `seedbench`; LLaVA
`convert_seed_for_submission.py`.
"""

from __future__ import annotations

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import OPTION_LETTER, Files, Question, read_json
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.letters import marking, vlmevalkit
from tinyllava_core.evaluate.score.scoring import Benchmark, Variant, mean_and_facets

LETTERS = "ABCD"
_FOLDERS = ("", "SEED-Bench-image/")


def read(files: Files) -> list[Question]:
    """Read `SEED-Bench.json` or its rows; those about videos are passed over."""
    pictures, questions = Pictures(files, _FOLDERS, ("data_id" if _is_official(files) else "image",)), []
    for row in read_rows(files.annotations):
        question_id = row.text("question_id")
        if (row.text("data_type") if row.has("data_type") else "image") != "image":
            continue
        choices = tuple(row.text(f"choice_{letter}") for letter in "abcd")
        asked = row.text("question")
        lines = [asked, *(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=True))]
        questions.append(
            question_of(
                row,
                pictures.of(row, question_id),
                question_id=question_id,
                text="\n".join(lines) + OPTION_LETTER,
                stem=asked,
                gold=(row.letter("answer", len(LETTERS)),),
                choices=choices,
                facets=(f"type.{row.number('question_type_id'):02d}",),
            )
        )
    if not questions:
        raise BadInput(f"{files.annotations}: no question about a picture in it; expected SEED-Bench.json")
    return questions


def _is_official(files: Files) -> bool:
    """Tell the authors' file, whose `data_id` is a picture's name, from a hub's rows, which have the pictures themselves."""
    return files.annotations.suffix == ".json" and isinstance(read_json(files.annotations), dict)


def first_character(text: str, question: Question) -> str:
    """Read the first character of the stripped reply, in either case: any word that starts with the letter counts."""
    said = text.strip()[:1].upper()
    return said if said and said in LETTERS else ""


def bare(text: str, question: Question) -> str:
    """Read a reply that is the letter and nothing else."""
    return text if text in tuple(LETTERS) else ""


SEEDBENCH = Benchmark(
    name="seedbench",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(extract), measures=mean_and_facets)
        for name, meaning, extract in (
            ("lmms-eval", "the first character of the reply, in either case", first_character),
            ("llava", "the reply is the letter and nothing else", bare),
            ("vlmevalkit", "VLMEvalKit's letters without a judge", vlmevalkit),
        )
    },
    default="lmms-eval",
    cluster="image",
    suffix=OPTION_LETTER,
    write_pictures=write_pictures,
)
