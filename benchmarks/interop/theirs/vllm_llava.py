"""vLLM on a CPU: load the exported folder, ask it every question by its own chat template."""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; this model needs next to nothing

import vllm
from PIL import Image


def main(given: dict) -> dict:
    """Answer greedily, in vLLM's own batches."""
    model = vllm.LLM(
        given["export"],
        dtype="float32",
        max_model_len=512,
        max_num_seqs=16,
        enforce_eager=True,
        gpu_memory_utilization=0.2,  # of this machine's own memory
        limit_mm_per_prompt={"image": 1},
    )
    chats = [
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_pil", "image_pil": Image.open(row["picture"]).convert("RGB")},
                    {"type": "text", "text": row["question"]},
                ],
            }
        ]
        for row in given["asked"]
    ]
    greedy = vllm.SamplingParams(temperature=0, max_tokens=given["max_new_tokens"])
    told = model.chat(chats, greedy, use_tqdm=False)
    return {"version": vllm.__version__, "said": [one.outputs[0].text.strip() for one in told]}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
