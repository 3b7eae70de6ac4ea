"""Check manifests against themselves and each other, without fetching anything: every fault that a download would meet late.

What one manifest may say at all, its own model checks when it is loaded; here that is one fault of several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path, PurePosixPath
from typing import Any

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.manifest.manifest import Manifest, known, load
from tinyllava_core.data.record.formats import parser, sniff_file
from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.data.record.record import Malformed, Parser
from tinyllava_core.errors import BadInput, unknown

_LOOKED_AT = 1000  # records of a local annotation file


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with one manifest."""

    manifest: str
    what: str


def lint(names: Sequence[str] | None, *, scorers: Mapping[str, Any]) -> tuple[int, list[Fault]]:
    """Check manifests by name or path, all shipped ones where none is named -> (how many were checked, their faults).

    `scorers`: the table of benchmarks; a row's `variants` are known to it alone.
    """
    wanted = list(names) if names is not None else known()
    shipped, faults = _load(known())
    if names is not None:
        chosen, faults = _load(wanted)
    else:
        chosen = shipped
    everything = {manifest.name: manifest for manifest in (*shipped.values(), *chosen.values())}
    for name, manifest in chosen.items():
        found = [
            *_licence(manifest),
            *_scorer(manifest, scorers),
            *_sets(manifest, everything),
            *_prefixes(manifest),
            *_homeless(manifest),
        ]
        faults += [Fault(manifest=name, what=what) for what in found]
    twice = _fetched_twice(everything)
    if names is None:
        twice += _unused(everything)
    faults += [fault for fault in twice if fault.manifest in {manifest.name for manifest in chosen.values()}]
    order = {name: place for place, name in enumerate(wanted)}
    return len(wanted), sorted(faults, key=lambda fault: (order.get(fault.manifest, 0), fault.what))


def _load(names: Sequence[str]) -> tuple[dict[str, Manifest], list[Fault]]:
    good: dict[str, Manifest] = {}
    faults: list[Fault] = []
    for name in names:
        try:
            good[name] = load(name)
        except BadInput as error:
            faults.append(Fault(manifest=name, what=str(error)))
    return good, faults


def _licence(manifest: Manifest) -> Iterator[str]:
    if not manifest.licence:
        yield "no licence; say under which one it may be used, or that none is stated"


def _scorer(manifest: Manifest, scorers: Mapping[str, Any]) -> Iterator[str]:
    if manifest.scorer is None:
        return
    if manifest.scorer not in scorers:
        yield str(unknown("scorer", manifest.scorer, scorers))
    elif manifest.variant is not None and manifest.variant not in scorers[manifest.scorer].variants:
        yield str(unknown(f"variant of {manifest.scorer}", manifest.variant, scorers[manifest.scorer].variants))


def _sets(manifest: Manifest, everything: Mapping[str, Manifest]) -> Iterator[str]:
    sets = {name for name, other in everything.items() if other.kind == "images"}
    for name in manifest.sets:
        if name in everything and name not in sets:
            yield f"images: {name!r} is of kind {everything[name].kind}, expected an image set"
        elif name not in sets:
            yield f"images: {unknown('image set', name, sets)}"


def _prefixes(manifest: Manifest) -> Iterator[str]:
    """Equal prefixes a manifest refuses itself; one inside another hides a fault of the inner folder."""
    named = sorted({entry.prefix for entry in manifest.images if entry.prefix})
    for outer, inner in combinations(named, 2):
        if PurePosixPath(inner).is_relative_to(outer):
            yield f"images: prefixes {outer!r} and {inner!r} overlap: a path of the second is looked up in both"
    if manifest.components and all(part.prefix is not None or part.text_only for part in manifest.components):
        for prefix in named:
            if not any(_meet(prefix, part.prefix) for part in manifest.components if part.take):
                yield f"images: prefix {prefix!r} stands for no component that is taken"


def _meet(one: str, other: str | None) -> bool:
    """Tell whether one of two prefixes lies in the other."""
    if other is None:
        return False
    return PurePosixPath(one).is_relative_to(other) or PurePosixPath(other).is_relative_to(one)


def _homeless(manifest: Manifest) -> Iterator[str]:
    """Paths that no place stands for: those of the components, and of a local annotation file's first records."""
    if manifest.kind != "source":
        return
    anywhere = Path("/")
    places = manifest.places(anywhere, dict.fromkeys(manifest.sets, anywhere), anywhere)
    for part in manifest.components:
        inside = any(_meet(entry.prefix or ".", part.prefix) or not entry.prefix for entry in manifest.images)
        if part.take and part.prefix is not None and not inside:
            yield f"components: {part.name!r}: no image place stands for {part.prefix}/...; places: {_told(places)}"
    annotations = manifest.annotations
    if annotations and annotations.path is not None:
        file = manifest.local(annotations.path)
        if not file.exists():
            yield f"annotations.path: no file {file}"
        elif file.is_file():
            yield from _homeless_records(manifest, file, annotations.format, places)


def _homeless_records(manifest: Manifest, file: Path, form: str | None, places: ImagePlaces) -> Iterator[str]:
    homeless: dict[str, int] = defaultdict(int)
    try:
        parse: Parser = parser(form or sniff_file(file))
        for index, item in islice(enumerate(json_items(file)), _LOOKED_AT):
            try:
                images = parse(manifest.name, index, item).images
            except Malformed:
                continue  # inspect keeps it under its reason
            left_out = any(part.claims(images) and not part.take for part in manifest.components)
            for path in () if left_out else images:
                if not places.known(path):
                    homeless[str(PurePosixPath(path).parent)] += 1
    except BadInput as error:
        yield f"annotations.path: {error}"
    for folder, number in sorted(homeless.items()):
        yield (
            f"{number} of the first {_LOOKED_AT} records name pictures in {folder}/, which no image place stands for; "
            f"places: {_told(places)}"
        )


def _told(places: ImagePlaces) -> str:
    return ", ".join(place.prefix or "(everything)" for place in places.places) or "none"


def _fetched_twice(everything: Mapping[str, Manifest]) -> list[Fault]:
    """Archives that several manifests would each download and unpack for themselves."""
    by_url: dict[str, list[str]] = defaultdict(list)
    for name, manifest in everything.items():
        for entry in manifest.images:
            if entry.archive is not None:
                by_url[entry.archive.url].append(name)
    return [
        Fault(manifest=name, what=f"{url} is an archive of {names[0]!r} too; make it one image set that both draw on")
        for url, names in by_url.items()
        for name in names[1:]
    ]


def _unused(everything: Mapping[str, Manifest]) -> list[Fault]:
    used = {name for manifest in everything.values() for name in manifest.sets}
    return [
        Fault(
            manifest=name,
            what="no source and no benchmark draws on this image set; use it, remove it, or say standalone: true",
        )
        for name, manifest in everything.items()
        if manifest.kind == "images" and not manifest.standalone and name not in used
    ]
