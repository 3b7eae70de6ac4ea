"""`tinyllava init`: a manifest and a recipe, commented, from a folder of pictures and an annotation file. It trains nothing."""

from __future__ import annotations

import argparse
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tinyllava_core.commands.arguments import add_workspace
from tinyllava_core.errors import BadInput

if TYPE_CHECKING:
    from tinyllava_core.data.inspect.preview import Preview

HELP = "write a manifest and a recipe for your own pictures, check and preview them"
MANIFEST = """\
# Your data, as `tinyllava init` found it. Every field that a manifest may have: docs/data.md
kind: source
name: {name}
licence: my own # or the one that it may be used under; it is shown wherever the source is
annotations:
  path: {annotations}
  format: {format} # told by its first records
images:
  - folder: {pictures} # what the records' picture paths begin in
"""
RECIPE = """\
# Trains on your data beside the recipe's own. Every field: tinyllava_core/settings; one at a time: --set sft.lr=1e-5
extends: {extends} # toy runs on a laptop; base is the paper's: `tinyllava recipes`
name: {name}
sft:
  mix: # a share of 2 takes every record twice, 0.5 a seeded half; a source that is not named is not trained on
{mix}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("pictures", type=Path, metavar="PICTURES", help="the folder of the pictures")
    records = 'the records: .json or .jsonl; the simplest: [{"image": "a.jpg", "caption": "a cat"}, ...]'
    parser.add_argument("annotations", type=Path, metavar="RECORDS", help=records)
    parser.add_argument("--name", help="what the source is called (default: the name of the file of records)")
    parser.add_argument("--extends", default="toy", metavar="RECIPE", help="recipe to add the data to (default: toy)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where to write (default: here)")
    add_workspace(parser)


def act(args: argparse.Namespace) -> None:
    """Look, write, check, preview. Raises BadInput if the records cannot be read or none of the looked at is good."""
    from tinyllava_core.data.manifest.fields import check_name
    from tinyllava_core.data.record.formats import sniff_file
    from tinyllava_core.recipe import load

    for path, is_there, what in (
        (args.pictures, args.pictures.is_dir(), "folder"),
        (args.annotations, args.annotations.is_file(), "file"),
    ):
        if not is_there:
            raise BadInput(f"{path}: no such {what}; expected: tinyllava init PICTURES RECORDS")
    name = args.name or re.sub(r"[^a-z0-9]+", "-", args.annotations.stem.lower()).strip("-") or "mine"
    check_name(name, f"--name {name}")
    form, sft = sniff_file(args.annotations), load(args.extends).training("sft")
    manifest, recipe = args.out / f"{name}.yaml", args.out / f"{name}-recipe.yaml"
    if there := next((path for path in (manifest, recipe) if path.exists()), None):
        raise BadInput(f"{there} is there already; take it away, or name another with --name")
    args.out.mkdir(parents=True, exist_ok=True)
    written = {"annotations": _from(args.annotations, args.out), "pictures": _from(args.pictures, args.out)}
    sources = [*(entry.source for entry in sft.mix), str(manifest.resolve())]
    mix = "\n".join(f"    - source: {_word(source)}" for source in sources)
    laid_out = {
        manifest: MANIFEST.format(name=_word(name), format=form, **{key: _word(path) for key, path in written.items()}),
        recipe: RECIPE.format(extends=_word(args.extends), name=_word(name), mix=mix),
    }
    try:
        for path, text in laid_out.items():
            path.write_text(text, encoding="utf-8")
        load(str(recipe))
        found = _looked_at(manifest, args.workspace, args.out / f"preview-{name}.html")
    except BaseException:
        for path in laid_out:
            path.unlink(missing_ok=True)
        raise
    print(f"{manifest}: {found.num_records:,} records of format {form}")
    print(f"{recipe}: {args.extends} with them")
    print(f"{args.out / f'preview-{name}.html'}: {len(found.shown)} of them, to be looked at")
    print(f"next: tinyllava run {recipe}, or tinyllava tune CHECKPOINT {manifest}")


def _looked_at(manifest: Path, workspace: Path, page: Path) -> Preview:
    """Judge some records as a run would, and write them as a page. Raises BadInput if all of them would be dropped."""
    from tinyllava_core.data.inspect.preview import preview
    from tinyllava_core.data.manifest.manifest import load
    from tinyllava_core.report.preview import write_preview

    told, place = load(str(manifest)), workspace.expanduser().resolve()
    found = preview(told, place, 12, 0, dropped=False)
    if not found.shown:
        reasons = sorted({one.reason for one in preview(told, place, 12, 0, dropped=True).shown if one.reason})
        raise BadInput(
            f"{found.num_searched} records looked at, and none can be trained on ({', '.join(reasons)}); "
            "is it the right folder of pictures?"
        )
    write_preview(found, False, 0, page)
    return found


def _from(path: Path, folder: Path) -> str:
    """Write a path as a manifest in `folder` names it: from there, or absolute."""
    place, home = path.resolve(), folder.resolve()
    if not place.is_relative_to(home):
        return str(place)
    inside = str(place.relative_to(home))
    return f"./{inside}" if inside.startswith("~") else inside  # no home folder is meant


def _word(text: str) -> str:
    """Write a text such that YAML reads it as itself, whatever it is made of: quoted where it must be."""
    with contextlib.suppress(yaml.YAMLError):
        if yaml.safe_load(f"key: {text} # behind it") == {"key": text}:
            return text
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=len(text) * 10)).strip()
