"""Run by another Python with another transformers: loads an exported folder as anybody would, asks it, prints what came as JSON.

`python ask_transformers.py FOLDER PICTURE QUESTION...`; it imports nothing of this package.
"""

import json
import sys

import torch
import transformers
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration


def main(folder: str, picture: str, questions: list[str]) -> None:
    torch.set_num_threads(1)
    processor = AutoProcessor.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    told = []
    for question in questions:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=Image.open(picture), text=text, return_tensors="pt")  # adds what a tokenizer adds
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1]
            said = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        told.append({"ids": inputs["input_ids"][0].tolist(), "logits": logits.tolist(), "said": said.tolist()})
    print(json.dumps({"version": transformers.__version__, "answers": told}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
