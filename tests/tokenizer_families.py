"""Tiny tokenizers of the families that language models use: their real steps and special tokens, a few hundred pieces each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

WORDS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the user's questions. USER: what colour is the cat? ASSISTANT: a red one. how many? 2 cats, 5 dogs "
    "system You are a helpful assistant. user assistant describe this picture no yes it is on the left (maybe) 0 1 3 4 6 7 8 9"
)
# Source: Qwen2's tokenizer.json; tiktoken's cl100k_base differs in taking up to three digits together.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K_SPLIT = QWEN_SPLIT.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")


def save(folder: Path, tokenizer: Tokenizer, **config: str | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    return tokenizer


def tiktoken(split: str, special: list[str]) -> Tokenizer:
    steps = [
        pre_tokenizers.Split(Regex(split), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    return byte_level(pre_tokenizers.Sequence(steps), special)


def phi(folder: Path) -> Path:
    """CodeGen's: GPT-2 pieces, no BOS, one token for everything, no padding token."""
    end = "<|endoftext|>"
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), [end])
    return save(folder, tokenizer, bos_token=end, eos_token=end, unk_token=end)


def stablelm(folder: Path) -> Path:
    """cl100k pieces; pad is the end token."""
    end = "<|endoftext|>"
    return save(folder, tiktoken(CL100K_SPLIT, [end]), bos_token=end, eos_token=end, pad_token=end)


def qwen2_base(folder: Path) -> Path:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return save(folder, tiktoken(QWEN_SPLIT, special), eos_token=special[0], pad_token=special[0])


def qwen2_instruct(folder: Path) -> Path:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return save(folder, tiktoken(QWEN_SPLIT, special), eos_token=special[2], pad_token=special[0])


def sentence_piece(special: list[str]) -> Tokenizer:
    """BPE over text whose spaces are pieces' first characters, with a byte for every character that has no piece."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # to learn: no piece has a space inside
    tokenizer.train_from_iterator(
        [WORDS] * 3, trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"] | {f"<0x{byte:02X}>": len(model["vocab"]) + byte for byte in range(256)}
    merges = [tuple(merge) for merge in model["merges"]]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.add_special_tokens(special)
    bos = special[1]
    made.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))])
    return made


def llama(folder: Path) -> Path:
    """Llama-2's file, as TinyLlama and OpenELM have it: its own space behind every special token, pad is the end token."""
    made = sentence_piece(["<unk>", "<s>", "</s>"])
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(content=" ", left=1),
    ]
    made.decoder = decoders.Sequence(steps)
    return save(folder, made, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>")


def llama_not_legacy(folder: Path) -> Path:
    """The newer file of the same tokenizer: its own space at the very start alone."""
    made = Tokenizer.from_file(str(llama(folder) / "tokenizer.json"))
    made.normalizer = normalizers.Sequence([])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return save(folder, made, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>")


def gemma(folder: Path) -> Path:
    """No space of its own anywhere; a padding token of its own."""
    made = sentence_piece(["<unk>", "<bos>", "<eos>", "<pad>"])
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return save(folder, made, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "phi": phi,
    "stablelm": stablelm,
    "qwen2_base": qwen2_base,
    "qwen2_instruct": qwen2_instruct,
    "llama": llama,
    "llama_not_legacy": llama_not_legacy,
    "gemma": gemma,
}
