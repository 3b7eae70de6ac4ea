"""The table of prompt formats: how a conversation is written down. One row each; exact keys; no tokenizer here.

data/plan/prompt.py turns a row into ids and labels, model/chat_template.py into the template that others render it with.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.errors import unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One way to write a conversation down: the texts around what the two sides say.

    A text may hold those special tokens of the tokenizer that are listed in `tokens`; any other is plain text.
    """

    system: str = ""  # the sentence in front of the first turn; "": none
    system_frame: str = "{system} "
    user: str | None = None  # in front of every question; None: the question's words are left out (captions)
    user_end: str = ""
    assistant: str = ""  # in front of the answer, and where the model goes on; no trailing space: the answer brings it
    answer: str = " {answer}"
    end: str | None = None  # ends an answer, and is learned; None: the tokenizer's end-of-sequence token
    answer_end: str = ""  # behind `end`, and not learned
    tokens: tuple[str, ...] = ()

    @property
    def opening(self) -> str:
        """Give what stands in front of the first turn."""
        return self.system_frame.format(system=self.system) if self.system else ""


# Source: Vicuna v1's, in template/*.py of the reference implementation and in LLaVA's conversation.py.
_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
PROMPTS: dict[str, Prompt] = {
    # Stage 1 of every recipe: image, caption, newline; no end token. Source: the reference's `pretrain`, LLaVA's `plain`.
    "plain": Prompt(answer="{answer}", end="\n"),
    # The reference's `llama`, `phi`, `gemma`, `qwen2_base` and `qwen2_instruct` are this one: they differ in the end token
    # alone (</s>, <|endoftext|>, <eos>, <|endoftext|>, <|im_end|>), which is each tokenizer's own end of sequence.
    "vicuna": Prompt(system=_VICUNA_SYSTEM, user="USER: ", assistant=" ASSISTANT:"),
    # For models that were taught to chat in ChatML. The reference never uses it, only its end token. Source: Qwen2's template.
    "chatml": Prompt(
        system="You are a helpful assistant.",
        system_frame="<|im_start|>system\n{system}<|im_end|>\n",
        user="<|im_start|>user\n",
        user_end="<|im_end|>\n",
        assistant="<|im_start|>assistant\n",
        answer="{answer}",
        end="<|im_end|>",
        answer_end="\n",
        tokens=("<|im_start|>", "<|im_end|>"),
    ),
    "short": Prompt(user="USER: ", assistant=" ASSISTANT:"),  # the toy world's: no system sentence
}


def prompt_row(name: str) -> Prompt:
    """Look a prompt format up. Raises BadInput for an unknown one."""
    if name not in PROMPTS:
        raise unknown("prompt format", name, PROMPTS)
    return PROMPTS[name]
