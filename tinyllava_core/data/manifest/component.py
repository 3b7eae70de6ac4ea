"""A component: the records of one source that belong together: by the paths of their pictures, or by their subset.

LLaVA's instruction mix is one file of many data sets; what is weighed, reported or left out is a component of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tinyllava_core.frozen import Frozen

OTHER = "other"  # what none of a source's components claims, and what cannot be read


class Component(Frozen):
    """One component: the records whose picture lies under a prefix, those of some subsets, or those without a picture."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    prefix: str | None = Field(None, description="Leading folders of the records' (first) picture. Or `text_only`.")
    subsets: tuple[str, ...] = Field((), description="Subsets of a hub's data set, by name or pattern. Or `prefix`.")
    text_only: bool = Field(False, description="The records without a picture. Or `prefix`.")
    count: int | None = Field(None, ge=0, description="Records of it in the file, where that is known.")
    take: bool = Field(True, description="false: no part of this source; its records are counted, and left out.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if [self.text_only, self.prefix is not None, self.subsets != ()].count(True) != 1:
            raise ValueError(f"component {self.name!r}: expected exactly one of prefix, subsets, text_only: true")
        if self.name == OTHER:
            raise ValueError(f"component {OTHER!r} is what no component claims; choose another name")
        return self

    def claims(self, images: Sequence[str], subset: str | None = None) -> bool:
        """Tell whether a record with these pictures, of this subset, is one of it."""
        if self.subsets:
            return subset is not None and matches(subset, self.subsets)
        if self.prefix is None or not images:
            return self.text_only and not images
        return _is_under(images[0], self.prefix)


def subset_name(subset: str) -> str:
    """Name the component that a subset is, where no component claims it: sharegpt4v(coco) is sharegpt4v-coco."""
    return re.sub(r"[^a-z0-9_]+", "-", subset.lower()).strip("-_") or OTHER


def matches(subset: str, patterns: Iterable[str]) -> bool:
    """Tell whether a subset is named by one of the patterns: by its very name, or with * and ?."""
    return any(subset == pattern or fnmatchcase(subset, pattern) for pattern in patterns)


def check_components(components: Sequence[Component], count: int | None) -> None:
    """Raises ValueError if two have one name, one hides another, or their counts are more than the file's."""
    for place, component in enumerate(components):
        for before in components[:place]:
            if component.name == before.name:
                raise ValueError(f"components: {component.name!r} is there twice")
            prefixes = component.prefix is not None and before.prefix is not None
            hidden = component.claims([f"{before.prefix}/x"]) or before.claims([f"{component.prefix}/x"])
            if (prefixes and hidden) or (component.text_only and before.text_only):
                raise ValueError(f"components: {before.name!r} and {component.name!r} claim the same records")
    counts = [component.count for component in components]
    known = [number for number in counts if number is not None]
    if count is not None and (sum(known) > count or (counts and len(known) == len(counts) and sum(known) != count)):
        raise ValueError(
            f"components: their counts sum to {sum(known)}, annotations.count is {count}; correct one, or leave one null"
        )


def _is_under(path: str, prefix: str) -> bool:
    """Compare whole folders. Paths without odd spellings are compared as text: pathlib took a sixth of all checking."""
    if not (_is_plain(path) and _is_plain(prefix)):
        return PurePosixPath(path).is_relative_to(prefix)
    return path == prefix or path.startswith(f"{prefix}/")


def _is_plain(path: str) -> bool:
    return path != "" and "//" not in path and "/." not in path and not path.startswith(".") and not path.endswith("/")
