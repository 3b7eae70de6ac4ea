"""transformers, as anybody would: load the exported folder, ask it every question. Imports nothing of this package."""

import json
import sys
from pathlib import Path

import torch
import transformers
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration


def main(given: dict) -> dict:
    """Answer greedily, one question at a time."""
    processor = AutoProcessor.from_pretrained(given["export"])
    model = LlavaForConditionalGeneration.from_pretrained(given["export"], dtype=torch.float32).eval()
    said = []
    for row in given["asked"]:
        content = [{"type": "image"}, {"type": "text", "text": row["question"]}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=Image.open(row["picture"]), text=text, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=given["max_new_tokens"], do_sample=False)
        new = ids[0, inputs["input_ids"].shape[1] :]
        said.append(processor.decode(new, skip_special_tokens=True).strip())
    return {"version": transformers.__version__, "said": said}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
