"""Tokenizing and packing: what they cost, and what packing saves beside padded batches.

`python benchmarks/packing.py [--records 8000] [--steps 300] [--tokenizer FOLDER]`. Lengths are drawn from
tinyllava_core/estimate/lengths.yaml: the ten data sets of LLaVA-1.5's instruction mix in their published counts. The text is
English from the documentation of the installed packages, cut into conversations of those lengths; without --tokenizer, a
byte-level BPE of 32,000 pieces is trained on it (the size of Llama's).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sysconfig
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from made_up_data import table
from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, pre_tokenizers, trainers

from tinyllava_core.data.plan.order import cut_steps
from tinyllava_core.data.plan.pack import deal, pack
from tinyllava_core.data.plan.prompt import encode
from tinyllava_core.data.record.record import Turn
from tinyllava_core.estimate.lengths import Drawn, draw
from tinyllava_core.settings.mix import MixEntry
from tinyllava_core.tokenizer import load_tokenizer

BATCH, IMAGE, MICRO = 128, 729, 8  # records of a step, tokens of an image (SigLIP), records of a padded micro-batch
MIX = (MixEntry(source="llava-sft-665k"),)


def main() -> None:
    """Print the cost of each part, the padding of each way, and how evenly ranks are loaded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=8000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tokenizer", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        words = english()
        folder = given.tokenizer or trained(words, Path(home))
        costs(conversations(words, given.records), folder)
    drawn = draw(MIX, IMAGE, False, given.steps * BATCH)
    print()
    padding(drawn)
    print()
    ranks(drawn)


def english() -> list[str]:
    """Collect words of the documentation that is installed with Python's packages."""
    folder, found = Path(sysconfig.get_paths()["purelib"]), []
    for file in sorted([*folder.glob("*.dist-info/METADATA"), *folder.rglob("*.md"), *folder.rglob("*.rst")]):
        found += file.read_text(encoding="utf-8", errors="ignore").split()
        if len(found) > 1_500_000:
            break
    return found


def trained(words: list[str], home: Path) -> Path:
    """Train a tokenizer of Llama's size on the words -> its folder."""
    tokenizer = Rust(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=32_000,
        special_tokens=["</s>", "<image>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator((" ".join(words[at : at + 500]) for at in range(0, len(words), 500)), trainer)
    tokenizer.save(str(home / "tokenizer.json"))
    (home / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return home


def conversations(words: list[str], count: int) -> list[tuple[Turn, ...]]:
    """Write conversations as long as the mix's: question and answer in turn."""
    drawn, made, at = draw(MIX, 0, False, count, seed=1), [], 0
    for tokens, supervised, images in zip(drawn.num_tokens, drawn.num_supervised, drawn.num_images, strict=True):
        answer = max(1, int(supervised / 1.35))
        question = max(3, int((tokens - supervised) / 1.35))
        text = words[at : at + question + answer]
        at = (at + question + answer) % (len(words) - 5000)
        head = "<image>\n" if images else ""
        made.append(
            (
                Turn(role="user", text=head + " ".join(text[:question])),
                Turn(role="assistant", text=" ".join(text[question:])),
            )
        )
    return made


def count(work: tuple[list[tuple[Turn, ...]], Path]) -> int:
    """Tokenize some conversations, as a worker of stage plan does -> tokens."""
    turns, folder = work
    tokenizer = load_tokenizer(folder)
    total = 0
    for first in range(0, len(turns), 1000):
        total += sum(len(one.ids) for one in encode(turns[first : first + 1000], "vicuna", tokenizer, IMAGE))
    return total


def costs(turns: list[tuple[Turn, ...]], folder: Path) -> None:
    """Tokenize with the tokenizer's threads and with processes; pack; print what each costs."""
    rows = []
    for name, threads, processes in (
        ("one process, one thread", False, 1),
        ("one process, its threads", True, 1),
        ("two processes", False, 2),
    ):
        os.environ["TOKENIZERS_PARALLELISM"] = str(threads).lower()
        parts = [(turns[number::processes], folder) for number in range(processes)]
        cpu, wall = cpu_seconds(), time.monotonic()
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            tokens = sum(pool.map(count, parts))
        cpu, wall = cpu_seconds() - cpu, time.monotonic() - wall
        rows.append((f"tokenize, {name}", f"{1e6 * cpu / len(turns):,.0f}", f"{tokens / cpu:,.0f}", f"{wall:.1f} s"))
    lengths = draw(MIX, IMAGE, False, 100 * BATCH).num_tokens
    lengths = np.minimum(lengths, 2048)
    cpu, wall = cpu_seconds(), time.monotonic()
    for first in range(0, len(lengths), BATCH):
        pack(lengths[first : first + BATCH], 8192)
    cpu, wall = cpu_seconds() - cpu, time.monotonic() - wall
    rows.append(("pack", f"{1e6 * cpu / len(lengths):,.1f}", f"{lengths.sum() / cpu:,.0f}", f"{wall:.1f} s"))
    table(("", "CPU us a record", "tokens a CPU second", "wall clock"), rows)


def cpu_seconds() -> float:
    """Give the CPU seconds of this process and its ended children."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in times)


def padding(drawn: Drawn) -> None:
    """Print what is padding, by every way to put a step's records together."""
    tokens = np.minimum(drawn.num_tokens, 2048)
    has_image, order = drawn.num_images > 0, np.arange(len(tokens))
    rows = []
    for name, group_by in (
        ("as they come", None),
        ("by modality (the paper's sft)", "modality"),
        ("by length", "length"),
    ):
        steps = list(cut_steps(order, has_image, tokens, BATCH, group_by))  # type: ignore[arg-type]
        padded = 0
        for members in steps:
            held = tokens[members] if group_by != "length" else np.sort(tokens[members])
            padded += sum(int(part.max()) * len(part) for part in np.array_split(held, BATCH // MICRO))
        rows.append((f"padded batches of {MICRO}, {name}", f"{1 - tokens.sum() / padded:.1%}", ""))
    steps = list(cut_steps(order, has_image, tokens, BATCH, "modality"))
    for capacity in (2048, 4096, 8192, 16384):
        lockstep = room = 0
        for members in steps:
            packs = [int(tokens[members[one]].sum()) for one in pack(tokens[members], capacity)]
            lockstep += len(packs) * packs[0]
            room += len(packs) * capacity
        rows.append((f"packs of at most {capacity:,}", "0", f"{1 - tokens.sum() / lockstep:.1%}"))
    table(("", "computed in vain", "if a step's packs were padded to its longest"), rows)


def ranks(drawn: Drawn) -> None:
    """Print how much longer the busiest rank works than the average one."""
    tokens, has_image = np.minimum(drawn.num_tokens, 2048), drawn.num_images > 0
    steps = list(cut_steps(np.arange(len(tokens)), has_image, tokens, BATCH, "modality"))
    numbers, rows = (1, 2, 3, 4, 6, 8, 16), []
    for capacity in (2048, 8192):
        packs = [[int(tokens[m[one]].sum()) for one in pack(tokens[m], capacity)] for m in steps]
        cells = []
        for number in numbers:
            busiest = [max(sum(one[p] for p, _ in hand) for hand in deal(one, number)) for one in packs]
            cells.append(f"{np.mean([b * number / sum(one) for b, one in zip(busiest, packs, strict=True)]):.3f}")
        rows.append((f"packs of at most {capacity:,}, {np.mean([len(one) for one in packs]):.0f} a step", *cells))
    table(("busiest rank / mean", *(f"{number} ranks" for number in numbers)), rows)


if __name__ == "__main__":
    main()
