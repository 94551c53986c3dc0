"""The config's types, and what validation finds wrong with a value, in short words."""

import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ecbehave.config import Config
from ecbehave.config.values import Section
from ecbehave.config.yaml import KeyPath

_PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    timedelta: "duration",
    date: "date (YYYY-MM-DD)",
}
_PLURAL = {
    "whole number": "whole numbers",
    "number": "numbers",
    "duration": "durations",
    "mapping": "mappings",
}
_HIDDEN = "the value that its environment variable holds is not accepted"
_BOUNDS = ((Gt, ">", "gt"), (Ge, ">=", "ge"), (Lt, "<", "lt"), (Le, "<=", "le"))


def field_type(field: FieldInfo) -> Any:
    """Return a field's whole type: its annotation with the constraints."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def unpack(annotation: Any) -> tuple[Any, list[Any]]:
    """Split a type into what it is, without an `Annotated`, and its constraints."""
    if get_origin(annotation) is not Annotated:
        return annotation, []
    base, *extra = get_args(annotation)
    constraints = [c for e in extra for c in (e.metadata if isinstance(e, FieldInfo) else [e])]
    return base, constraints


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a union takes, but for null; for any other type, only itself."""
    base, _ = unpack(annotation)
    if get_origin(base) not in (Union, types.UnionType):
        return (annotation,)
    return tuple(m for m in get_args(base) if m is not types.NoneType)


def kinds(annotation: Any) -> dict[str, type[Section]]:
    """Return the classes of a union that is chosen by `kind`, by kind; empty for any other type."""
    classes = members(annotation)
    if len(classes) == 1 or not all(is_section(c) for c in classes):
        return {}
    return {get_args(c.model_fields["kind"].annotation)[0]: c for c in classes}


def is_section(annotation: Any) -> bool:
    """Say whether a type is a part of the config with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def type_words(annotation: Any, article: bool = False) -> str:
    """Describe a type: `text`, `whole number > 0`, `one of a, b`; with `article`, to stand in a sentence."""
    if by_kind := kinds(annotation):
        return f"{'a ' * article}mapping with kind: {_alternatives(by_kind)}"
    if _is_choice(annotation):
        return " or ".join(type_words(m, article) for m in members(annotation))
    base, constraints = unpack(members(annotation)[0])
    if get_origin(base) is Literal:
        options = [str(o) for o in get_args(base)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    words = _words(base, constraints)
    return f"a {words}" if article and not words.startswith(("text", "true")) else words


def _words(base: Any, constraints: Sequence[Any]) -> str:
    if is_section(base):
        return "mapping"
    arguments = get_args(base)
    shortest, longest = (
        next((getattr(c, name) for c in constraints if isinstance(c, cls)), None)
        for cls, name in ((MinLen, "min_length"), (MaxLen, "max_length"))
    )
    if get_origin(base) is list:
        return f"{'non-empty ' if shortest else ''}list of {_plural(type_words(arguments[0]))}"
    if get_origin(base) is dict:
        key, value = arguments
        if get_origin(key) is Literal:
            return f"mapping with keys {', '.join(get_args(key))}"
        return f"mapping of {type_words(key)} to {type_words(value)}"
    if base is str and shortest == longest == 1:
        return "single character"
    bounds = [
        f"{sign} {getattr(c, name)}" for cls, sign, name in _BOUNDS for c in constraints if isinstance(c, cls)
    ]
    pattern = [f"that matches {c.pattern}" for c in constraints if getattr(c, "pattern", None)]
    return " ".join([_PLAIN[base], *filter(None, [" and ".join(bounds)]), *pattern])


def _plural(words: str) -> str:
    return next(
        (words.replace(one, many, 1) for one, many in _PLURAL.items() if words.startswith(one)), words
    )


def _alternatives(options: Iterable[str]) -> str:
    *first, last = options
    return f"{', '.join(first)} or {last}" if first else last


@dataclass(frozen=True)
class _Spot:
    """A place in the config: `type` is what belongs there, `keys` what its mapping takes."""

    path: KeyPath
    type: Any
    keys: tuple[str, ...]


def _locate(config_class: type[Section], loc: Sequence[str | int]) -> _Spot:
    """Follow pydantic's location, in which names of union members stand between the keys."""
    spot = _Spot((), config_class, ())
    here: Any = config_class
    for part in loc:
        if part == "[key]":
            continue
        parts = members(here)
        if len(parts) > 1:
            named = {c.__name__: c for c in parts if is_section(c)} | kinds(here)
            here = named.get(str(part))
            continue
        here, keys = _step(parts[0], part)
        spot = _Spot((*spot.path, part), here, keys)
    return spot


def _step(annotation: Any, part: str | int) -> tuple[Any, tuple[str, ...]]:
    base, _ = unpack(annotation)
    if is_section(base):
        field = base.model_fields.get(str(part))
        extends = ("extends",) if issubclass(base, Config) else ()
        return (field_type(field) if field else None), (*base.model_fields, *extends)
    if get_origin(base) is dict:
        key, value = get_args(base)
        return value, get_args(key) if get_origin(key) is Literal else ()
    arguments = get_args(base)
    return (arguments[0] if arguments else None), ()


def explain(
    errors: Sequence[ErrorDetails],
    shown: Sequence[ErrorDetails],
    tree: dict[str, Any],
    config_class: type[Section],
) -> dict[KeyPath, str]:
    """Put pydantic's errors into words, one for each place.

    Nothing from the environment gets into the words: they are made from `tree` and `shown`, in which the
    placeholders still stand.

    Args:
        errors: what is wrong with the config.
        shown: what is wrong with the config when placeholders are not filled in.
        tree: the plain config, its placeholders not filled in.
        config_class: the class of the config.
    """
    showable = {(e["loc"], e["type"]): e for e in shown}
    found: dict[KeyPath, str] = {}
    for error in errors:
        spot = _locate(config_class, error["loc"])
        same = showable.get((error["loc"], error["type"]))
        what, path = _what(error, same, spot, _value(tree, spot.path))
        found.setdefault(path, what)
    # A value that fits no member of a union has an error for each; the one that went deeper was meant.
    return {p: what for p, what in found.items() if not any(o[: len(p)] == p != o for o in found)}


def _what(error: ErrorDetails, shown: ErrorDetails | None, spot: _Spot, value: Any) -> tuple[str, KeyPath]:
    """Return the words for one error and the path that they are about; `error` gives only its type."""
    path = spot.path
    match "extra_forbidden" if error["loc"][-1:] == ("[key]",) else error["type"]:
        case "extra_forbidden":
            what = f"unknown key{_choose(str(path[-1]), spot.keys)}"
        case "missing":
            what = f"missing; it must be {type_words(spot.type, article=True)}"
        case "union_tag_not_found":
            what, path = f"missing; use one of {', '.join(kinds(spot.type))}", (*path, "kind")
        case "union_tag_invalid":
            tag = value["kind"]
            what, path = f"unknown kind {_got(tag)}{_choose(str(tag), kinds(spot.type))}", (*path, "kind")
        case "value_error" if not _is_choice(spot.type):
            what = str(shown["ctx"]["error"]) if shown else _HIDDEN
        case _ if spot.type is None:
            what = shown["msg"] if shown else _HIDDEN
        case _:
            what = f"must be {type_words(spot.type, article=True)}, not {_got(value)}{_hint(value, spot)}"
    return what, path


def _is_choice(annotation: Any) -> bool:
    """Say whether a type is a union whose members have nothing to do with each other."""
    return len(members(annotation)) > 1 and not kinds(annotation)


def _value(tree: Any, path: KeyPath) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else tree[part]
    return tree


def _got(value: Any) -> str:
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _hint(value: Any, spot: _Spot) -> str:
    if not isinstance(value, str):
        return ""
    if "${" in value:
        return "; an environment variable gives text"
    options = [str(o) for m in members(spot.type) if get_origin(m) is Literal for o in get_args(m)]
    close = get_close_matches(value, options, 1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _choose(given: str, known: Iterable[str]) -> str:
    known = list(known)
    close = get_close_matches(given, known, 1)
    return f"; did you mean '{close[0]}'?" if close else f"; use one of {', '.join(known)}"
