"""What asking a model about whole sources will take, before anything is asked and before the data is here. No price is known here.

Words are counted where a source was inspected in the workspace, else expected as `tinyllava check` expects a stage's load. Four characters
are taken for a token, as in curate/asking.py; what a picture costs is each model's own, so its user says that too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinyllava_core.curate.asking import CHARS_A_TOKEN, Prompt
from tinyllava_core.curate.rows import Source, source_of
from tinyllava_core.curate.tariff import Asking, Tariff
from tinyllava_core.data.manifest.located import newest
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.estimate.lengths import draw
from tinyllava_core.settings.mix import MixEntry

_DRAWN = 4096  # records that stand for a source's


def of_sources(names: Iterable[str], prompt: Prompt, workspace: Path, tariff: Tariff, *, each_picture: bool) -> Asking:
    """Add up what asking about every good record of some sources takes; `each_picture`: about every different picture instead."""
    total = Asking()
    for name in dict.fromkeys(names):
        manifest = load(name)
        if newest(workspace, "inspect", manifest.name) is None:
            total += _expected(name, prompt, tariff, each_picture)
        else:
            total += _counted(source_of(manifest, workspace), prompt, tariff, each_picture)
    return total


def _counted(source: Source, prompt: Prompt, tariff: Tariff, each_picture: bool) -> Asking:
    asked, pictures, chars = 0, 0, 0
    seen: set[str] = set()
    for row in source.rows():
        if each_picture and (not row.pictures or row.picture_sha256[0] in seen):
            continue
        seen.update(row.picture_sha256[:1])
        asked, pictures = asked + 1, pictures + (1 if each_picture else len(row.pictures))
        chars += len(prompt.messages(row, ())[0]["content"][-1]["text"])
    return Asking(
        requests=asked,
        sent=chars / CHARS_A_TOKEN + pictures * (tariff.a_picture or 0),
        back=asked * prompt.max_tokens,
        pictures=pictures,
    )


def _expected(name: str, prompt: Prompt, tariff: Tariff, each_picture: bool) -> Asking:
    drawn = draw((MixEntry(source=name),), tokens_per_image=0, captions=False, count=_DRAWN)
    answers = float(drawn.num_supervised.mean())
    words = {"{answer}": answers, "{question}": float(drawn.num_tokens.mean()) - answers}
    images = float(drawn.num_images.mean())
    asked = drawn.num_records * (min(1.0, images) if each_picture else 1.0)
    pictures = asked if each_picture else drawn.num_records * images
    text = len(prompt.text) / CHARS_A_TOKEN + sum(many for place, many in words.items() if place in prompt.text)
    return Asking(
        requests=asked,
        sent=asked * text + pictures * (tariff.a_picture or 0),
        back=asked * prompt.max_tokens,
        pictures=pictures,
        is_counted=False,
    )
