"""Whether a benchmark's files are such that it can be asked and scored: looked at before a model is trained for it.

It asks no model, fetches nothing, and judges no picture beyond its being there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyllava_core.data.files.packed import is_packed
from tinyllava_core.data.manifest.local_copies import as_own, missing, with_copies
from tinyllava_core.data.manifest.local_files import beside, inner_root, local_path, read_path
from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question, check_images
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.scoring import Benchmark, check_scorable
from tinyllava_core.recipe import Recipe
from tinyllava_core.settings.data import Data


def check_questions(
    row: Benchmark, questions: Sequence[Question], files: Files, expected: int | None, as_own: str = ""
) -> None:
    """Raises BadInput if they are not as many as the manifest says, their answers are not known, or pictures are not there.

    `files.images` None: they are asked blind, so pictures are not looked for. `as_own`: the manifest of another number of them.
    """
    if expected not in (None, len(questions)):
        raise BadInput(
            f"{files.annotations}: {len(questions)} questions, the manifest expects {expected}; correct `count` or the file"
            + (f"; a part of it is a benchmark of its own: name my.yaml with this in it: {as_own}" if as_own else "")
        )
    if row.submit is None:  # otherwise the answers of a hidden split can be uploaded
        check_scorable(row, questions)
    if files.images is not None:
        check_images(questions, files.images)


def check_benchmark(manifest: Manifest, files: Files) -> None:
    """Read a benchmark's questions and check them. Raises BadInput, with the benchmark's name in front."""
    assert manifest.scorer is not None, f"{manifest.name} is no benchmark: check_manifests should have said so"
    assert manifest.annotations is not None
    row = benchmark(manifest.scorer)
    try:
        questions = row.variant(manifest.variant).read(files)
        check_questions(row, questions, files, manifest.annotations.count, as_own(manifest, files.annotations))
    except BadInput as error:
        raise BadInput(f"benchmark {manifest.name}: {error}") from None


def faulty_benchmarks(recipe: Recipe) -> list[BadInput]:
    """Check each benchmark of a recipe whose files are all on this disk already -> what a run would stop at, one each."""
    faults = []
    for name in recipe.evaluate.benchmarks:
        manifest = load(name)
        try:
            if files := files_here(manifest, recipe.data):
                check_benchmark(manifest, files)
        except BadInput as error:
            faults.append(error)
    return faults


def files_here(manifest: Manifest, data: Data) -> Files | None:
    """Tell where a benchmark's files are; None if a person or a download has to bring some of them first.

    Raises BadInput if what the manifest or the recipe's section `data` names on this disk is not there.
    """
    sets = [load(name) for name in manifest.sets]
    if missing((manifest, *sets), data):
        return None
    manifest, sets = with_copies(manifest, data), [with_copies(one, data) for one in sets]
    wanted = manifest.annotations
    if wanted is None or wanted.path is None or any(entry.own for entry in manifest.images):
        return None
    if any(len(one.folders) != 1 for one in sets):
        return None
    place = local_path(manifest, "annotations.path", wanted.path)
    if place.is_file() and is_packed(place):
        return None
    read = read_path(wanted, place, manifest.name)
    roots = {one.name: inner_root(one.folders[0], one.root) for one in sets}
    return Files(annotations=read, images=manifest.places(Path(), roots, beside(wanted, read)))
