"""TRL with peft: what its collator makes learn of our records, and the loss of its first step under a fresh LoRA adapter."""

import json
import sys
from pathlib import Path

import peft
import torch
import trl
from datasets import Dataset, Features, Image, List, Value
from transformers import AutoProcessor, LlavaForConditionalGeneration
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

BATCH = 8


def main(given: dict) -> dict:
    """Give each record's ids and labels as TRL's collator makes them, then whether its trainer's loss is ours."""
    processor = AutoProcessor.from_pretrained(given["export"])
    rows = [{"messages": row["messages"], "images": [row["picture"]]} for row in given["records"]]
    turn = {"role": Value("string"), "content": Value("string")}
    data = Dataset.from_list(rows, Features(messages=List(turn), images=List(Image())))
    collate = DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    said = []
    for row in data:
        batch = collate([row])
        said.append([batch["input_ids"][0].tolist(), batch["labels"][0].tolist()])
    said.append(abs(first_loss(given, processor, data.select(range(BATCH))) - given["loss"]) < given["tolerance"])
    return {"version": f"{trl.__version__}, peft {peft.__version__}", "said": said}


def first_loss(given: dict, processor: AutoProcessor, data: Dataset) -> float:
    """Train two steps; the first loss is the exported model's own, since a fresh adapter adds nothing."""
    model = LlavaForConditionalGeneration.from_pretrained(given["export"], dtype=torch.float32)
    settings = trl.SFTConfig(
        output_dir="trained",
        max_steps=2,
        per_device_train_batch_size=BATCH,
        assistant_only_loss=True,
        max_length=None,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    adapter = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = trl.SFTTrainer(
        model=model, args=settings, train_dataset=data, processing_class=processor, peft_config=adapter
    )
    trainer.train()
    return float(next(row["loss"] for row in trainer.state.log_history if "loss" in row))


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
