"""The base of everything a user writes or one program hands to another as YAML. Not for values inside a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from tinyllava_core.errors import BadInput, nearest, visible
from tinyllava_core.secret import without_secrets


def _one_line(text: str) -> str:
    if not text.strip() or visible(text) != text:
        raise ValueError("expected a line of text, without line ends or other control characters")
    return text


OneLine = Annotated[str, AfterValidator(_one_line)]  # of names that come into scripts, pages and lists


class Frozen(BaseModel):
    """A checked, immutable value; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:
        """Check `data` against this model. Raises BadInput: one line with the place, the value and what was expected."""
        if not isinstance(data, dict):
            raise BadInput(f"{where}: expected keys and values, found {type(data).__name__}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise BadInput(f"{where}: {describe(error, cls)}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file into this model. Raises BadInput if it is missing, is not YAML or does not fit."""
        return cls.parse(read_yaml(path), str(path))

    def as_yaml(self) -> str:
        """Give this value whole, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def write(self, path: Path) -> None:
        """Write this value as YAML, such that `read` gives it back."""
        path.write_text(self.as_yaml(), encoding="utf-8")


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises BadInput if it cannot be read, is not YAML (with the line) or has a key twice."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}; expected a YAML file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except ValueError as error:
        raise BadInput(f"{path}: not YAML: {error}") from None


def parse_yaml(text: str) -> Any:
    """Read YAML. Raises ValueError, in one line, on what is none, has a key twice, or unfolds to more than a million values."""
    try:
        return _loaded(text, _QuickLoader)
    except ValueError:
        return _loaded(text, _Loader)  # whose texts show the line, with a mark under the place


def _loaded(text: str, loader: type[_Loader | _QuickLoader]) -> Any:
    try:
        return yaml.load(text, loader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a date, a number of thousands of digits
        raise ValueError(" ".join(str(error).split())) from None
    except (LookupError, TypeError, AttributeError, OverflowError) as error:  # of `!!bool x`, and the like
        raise ValueError(f"a value is not of the kind that its tag says ({type(error).__name__}: {error})") from None


_LARGEST = 2**63  # of a whole number: beyond it no table holds it, and Python may not even print it
_MOST_VALUES = 1_000_000  # an annotated recipe has hundreds; ten lines of anchors that name each other have a billion


class _Rules(yaml.SafeLoader if TYPE_CHECKING else object):  # type: ignore[misc]
    """PyYAML takes the last of two equal keys without a word: here that is a fault, and so is a bomb of anchors."""

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _num_values(node, {}) > _MOST_VALUES:
            raise yaml.YAMLError(f"its anchors unfold to more than {_MOST_VALUES:,} values, or one is within itself")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose keys are all different."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.YAMLError(f"key {key.value!r} in line {line} is in line {seen[key.value]} already")
                seen[key.value] = line
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number that 64 bits hold."""
        number: int = super().construct_yaml_int(node)
        if not -_LARGEST <= number < _LARGEST:
            raise yaml.YAMLError(f"the number in line {node.start_mark.line + 1} has more than 64 bits")
        return number


class _Loader(_Rules, yaml.SafeLoader):
    """PyYAML's, in Python."""


class _QuickLoader(_Rules, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's, in a seventh of the time."""


for _loader in (_Loader, _QuickLoader):
    _loader.add_constructor("tag:yaml.org,2002:int", _loader.construct_yaml_int)


def _num_values(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the values that a node stands for, each alias with all that it names."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # stays so where it is within itself
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = (part for one in inner for part in (one if isinstance(one, tuple) else (one,)))
        known[id(node)] = 1 + sum(_num_values(part, known) for part in parts)
    return known[id(node)]


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Put the first fault of a pydantic error into one line, with the nearest known key where a key is unknown."""
    faults = error.errors()
    first = next(
        (fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0]
    )  # a mistyped key explains the rest
    loc = [part for part in first["loc"] if not str(part).startswith("function-")]
    place = ".".join(str(part) for part in loc)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = known_keys(model, tuple(loc[:-1]))
        return f"unknown key {place!r}{nearest(str(loc[-1]), known)}. Known here: {', '.join(known)}{more}"
    if first["type"] == "missing":
        return f"key {place!r} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" and isinstance(
        first["input"], dict
    ):  # a rule between several keys: it says itself which values clash
        return f"{place}: {message}{more}" if place else f"{message}{more}"
    given = first["input"]
    shown = without_secrets(given) if isinstance(given, str) else given
    return f"{place or 'value'} = {shown!r}: {message}{more}"


def known_keys(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """List the keys that `model` has at `loc`, following nested models, and lists and dicts of models."""
    current: Any = model
    in_dict = False
    for part in loc:
        if isinstance(part, int):
            continue
        if in_dict:  # the key is the user's own word
            in_dict = False
            continue
        field = current.model_fields.get(part) if current else None
        in_dict = field is not None and get_origin(field.annotation) is dict
        current = _inner_model(field.annotation) if field else None
    return list(current.model_fields) if current and not in_dict else []


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in getattr(annotation, "__args__", ()) if (found := _inner_model(arg))), None)
