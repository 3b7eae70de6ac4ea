"""Can everything that a recipe's parts need be had? Asked before the first byte of data is fetched. It makes nothing."""

from __future__ import annotations

from tinyllava_core.data.plan.prompt import encode
from tinyllava_core.data.record.record import Turn
from tinyllava_core.errors import BadInput
from tinyllava_core.parts import VISIONS, language_row, prompt_of, tokenizer_folder
from tinyllava_core.parts.hub import TOKENIZER, look_for
from tinyllava_core.recipe import Recipe
from tinyllava_core.tokenizer import load_tokenizer

_SOME = (Turn(role="user", text="a"), Turn(role="assistant", text="b"))


def check_parts(recipe: Recipe, to_train: bool = True) -> None:
    """Look for the parts' configurations, weights and tokenizer, and hold every stage's prompt format against the last.

    Raises BadInput on all that cannot be had, in one line. Planning alone (not `to_train`) needs the tokenizer only.
    """
    if not recipe.stages():
        return
    if to_train and (faults := missing_parts(recipe)):
        raise BadInput(" Also: ".join(map(str, faults)))
    language = language_row(recipe.model.language)
    prompts = [prompt_of(recipe.training(stage).prompt, language) for stage in recipe.stages()]
    tokenizer = load_tokenizer(tokenizer_folder(language))
    for prompt in dict.fromkeys(prompts):
        encode([_SOME], prompt, tokenizer, 1)


def missing_parts(recipe: Recipe) -> list[BadInput]:
    """Say of each part that cannot be had why, and what to do. Where a stage starts from a checkpoint, its weights are there."""
    language = language_row(recipe.model.language)
    needed: dict[tuple[str, str | None], tuple[str, ...]] = {(language.weights, language.revision): (TOKENIZER,)}
    if recipe.start is None:
        members = [VISIONS[key] for key in VISIONS[recipe.model.vision].mixture or (recipe.model.vision,)]
        needed |= {(row.weights, row.revision): () for row in members}
    faults = list[BadInput]()
    for (weights, revision), more in needed.items():
        try:
            look_for(weights, revision, more)
        except BadInput as fault:
            faults.append(fault)
    return faults
