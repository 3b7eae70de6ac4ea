"""A prompt format as the Jinja template that renders the very same text: what an exported checkpoint carries.

data/plan/prompt.py makes the ids that are trained on; a test holds the two against each other. Nothing is rendered here.
"""

from __future__ import annotations

import json

from tinyllava_core.parts.prompts import Prompt
from tinyllava_core.settings.writing import ImagePlace
from tinyllava_core.tokenizer import IMAGE_TOKEN, Tokenizer

# A message's content as one text with image tags in it, into `said.text`. Servers send a list of items, or a text; llama.cpp's
# sends a text in which marks of its own, another word in each process, stand where the pictures were.
_SAID = (
    "{% set said = namespace(text='', tag=TAG) %}"
    "{% if message['content'] is string %}{% set said.text = message['content'] %}"
    "{% else %}{% for item in message['content'] %}"
    "{% if item['type'] in ['image', 'image_url'] %}{% set said.text = said.text + TAG %}"
    "{% else %}{% set said.text = said.text + item['text'] %}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if MARK in said.text %}{% set said.tag = MARK + said.text.split(MARK)[1].split('_>')[0] + '_>' %}{% endif %}"
)
_MARK = (
    "<__media_"  # common/chat.cpp and tools/server/server-common.cpp of llama.cpp; once <__media__>, now <__media_..__>
)


def chat_template(row: Prompt, tokenizer: Tokenizer, image_place: ImagePlace = "front") -> str:
    """Write the template of a prompt format for one tokenizer (its BOS and end token are in it, as text).

    What is learned stands between {% generation %} marks, for trainers that learn from the answers alone. A system message of
    the conversation takes the place of the format's own sentence; one in the middle is refused.
    """
    bos = "" if tokenizer.bos_id is None else tokenizer.token(tokenizer.bos_id)
    end = tokenizer.token(tokenizer.eos_id) if row.end is None else row.end
    before, after = row.system_frame.split("{system}")
    lead, tail = row.answer.split("{answer}")
    template = (
        f"{_text(bos)}"
        "{% for message in messages %}"
        f"{_SAID}"
        "{% if message['role'] == 'system' and loop.first %}"
        f"{_text(before)}{{{{ said.text }}}}{_text(after)}"
        f"{{% elif loop.first %}}{_text(row.opening)}{{% endif %}}"
        "{% if message['role'] == 'user' %}"
        f"{_text(row.user or '')}{_question(row, image_place)}{_text(row.user_end)}"
        "{% elif message['role'] == 'assistant' %}"
        f"{_text(row.assistant)}{{% generation %}}{_text(lead)}{{{{ said.text }}}}{_text(tail + end)}"
        f"{{% endgeneration %}}{_text(row.answer_end)}"
        "{% elif not loop.first %}{{ raise_exception('a system message can only be the first') }}{% endif %}"
        "{% endfor %}"
        f"{{% if add_generation_prompt %}}{_text(row.assistant)}{{% endif %}}"
    )
    return template.replace("TAG", json.dumps(IMAGE_TOKEN)).replace("MARK", json.dumps(_MARK))


def _question(row: Prompt, image_place: ImagePlace) -> str:
    """Write what the user says: captions have no words, and images stand in front or where they were put."""
    count = "(said.text.split(said.tag) | length - 1)"
    if row.user is None:
        return f"{{{{ said.tag * {count} }}}}"
    if image_place == "as_written":
        return "{{ said.text | trim }}"
    newline = json.dumps("\n")
    return f"{{{{ (said.tag + {newline}) * {count} }}}}{{{{ said.text.replace(said.tag, '') | trim }}}}"


def _text(text: str) -> str:
    """Write a fixed text; as an expression, because a template's own newlines and spaces may be trimmed."""
    return f"{{{{ {json.dumps(text)} }}}}" if text else ""
