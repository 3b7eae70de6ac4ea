"""What this package says itself, of a finished run of the toy recipe: the other side of every comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy

from tinyllava_core.data.inspect.decode import decode
from tinyllava_core.data.plan.prompt import encode
from tinyllava_core.data.record.record import IMAGE_TAG
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.data.tensors.example import fit, normalise
from tinyllava_core.model import checkpoint
from tinyllava_core.tokenizer import IGNORE, load_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """The newest finished run of a workspace, by the folders of its artifacts."""

    workspace: Path
    export: Path  # the folder that transformers loads
    checkpoint: Path  # the trained stage's artifact
    answers: dict[str, Path]  # benchmark -> its evaluation, pictures seen
    plan: Path
    shards: Path

    @classmethod
    def find(cls, workspace: Path) -> Toy:
        """Follow the newest export back to what it was made of. Exits in one line if there is none."""
        exports = sorted(_told(workspace, "export"), key=lambda one: one["made_at"])
        if not exports:
            raise SystemExit(f"error: {workspace} holds no exported model; `make demo` makes one, in some four minutes")
        home = workspace.resolve() / "artifacts"
        trained = exports[-1]["inputs"]["checkpoint"]
        (stage,) = (one for one in _told(workspace, "sft") if one["fingerprint"] == trained)
        plan = home / "plan" / stage["inputs"]["plan"]
        seen = [
            one
            for one in _told(workspace, "evaluate")
            if one["inputs"]["checkpoint"] == trained and one["spec"]["condition"] == "seen"
        ]
        return cls(
            workspace=workspace.resolve(),
            export=home / "export" / exports[-1]["fingerprint"] / "hf",
            checkpoint=home / "sft" / trained,
            answers={one["result"]["benchmark"]: home / "evaluate" / one["fingerprint"] for one in seen},
            plan=plan,
            shards=home / "shard" / json.loads((plan / "result.json").read_text())["inputs"]["shard"],
        )

    def asked(self) -> list[dict[str, Any]]:
        """List every question of every benchmark: its picture, its words, our answer."""
        return [row for folder in self.answers.values() for row in self._asked(folder)]

    def _asked(self, folder: Path) -> Iterator[dict[str, Any]]:
        downloaded = self.workspace / "artifacts" / "download"
        inputs = json.loads((folder / "result.json").read_text())["inputs"]
        root = downloaded / inputs["download"] / "images"
        items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
        prompts = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        texts = {row["metadata"].get("question_id", row["question_id"]): row for row in prompts}
        for item in items:
            row = texts[item["question_id"]]
            yield {"picture": str(root / item["image"]), "question": row["prompt"], "said": row["text"]}

    def records(self) -> list[dict[str, Any]]:
        """List the records of the shards in their order: key, and the sha256 of its JSON and of each picture."""
        columns = ["key", "json_sha256", "image_sha256"]
        return [
            {"key": row["key"], "json": row["json_sha256"], "pictures": row["image_sha256"]}
            for row in pq.read_table(self.shards / "index.parquet", columns=columns).to_pylist()
        ]

    def turns(self) -> list[str]:
        """List the conversations of the same records, as sorted JSON."""
        reader = ShardReader(self.shards)
        return [
            json.dumps([{"role": turn.role, "text": turn.text} for turn in reader.turns(row)], sort_keys=True)
            for row in range(len(reader))
        ]

    def taught(self, most: int) -> list[dict[str, Any]]:
        """List the first records of one picture: messages, picture, and the ids and labels that the training sees."""
        reader, loaded = ShardReader(self.shards), checkpoint.load(self.checkpoint / "checkpoint")
        tokenizer, found = load_tokenizer(self.checkpoint / "checkpoint"), []
        for row in range(len(reader)):
            turns, pictures = reader.turns(row), reader.images(row)
            if len(pictures) == 1 and turns[0].text.startswith(IMAGE_TAG) and len(found) < most:
                (ours,) = encode([turns], loaded.prompt, tokenizer, loaded.tokens_per_image)
                texts = [turn.text.removeprefix(IMAGE_TAG).strip() for turn in turns]
                messages = [{"role": turn.role, "content": text} for turn, text in zip(turns, texts, strict=True)]
                found.append({"messages": messages, "picture": pictures[0], "ids": ours.ids, "labels": ours.labels})
        return found

    def loss(self, taught: list[dict[str, Any]]) -> float:
        """Compute the mean loss over the supervised tokens of some records, one by one, by the trained checkpoint."""
        loaded, total, count = checkpoint.load(self.checkpoint / "checkpoint"), 0.0, 0
        for one in taught:
            ids, labels = torch.tensor([one["ids"]]), torch.tensor(one["labels"][1:])
            pixels = normalise(fit(decode(one["picture"]), loaded.vision, "square", "pil")[None], loaded.vision)
            with torch.no_grad():
                logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits
            total += float(cross_entropy(logits[0, :-1], labels, ignore_index=IGNORE, reduction="sum"))
            count += int((labels != IGNORE).sum())
        return total / count

    def tars(self) -> list[str]:
        """List the tars in their order."""
        return [str(path) for path in sorted(self.shards.glob("*.tar"))]


def _told(workspace: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in workspace.glob(f"artifacts/{stage}/[0-9a-f]*/result.json")]
