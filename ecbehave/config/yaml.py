"""YAML text to a tree that knows where each value was written, and a plain tree back to YAML.

Values are what YAML 1.2 makes of them: dates stay text, keys are always text. Plain values that YAML 1.1 and
1.2 readers understand differently (`no`, `010`, `12:30`, `1e-3`) are refused instead of guessed.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from ecbehave.errors import ConfigError

#: Keys and list positions from the root to a value.
KeyPath = tuple[str | int, ...]

#: The source of values given on the command line; they have no lines.
SET = "--set"

_MOST_LISTED = 10


@dataclass(frozen=True)
class Where:
    """Where a value was written: a file or `--set`, and the folder that its relative paths start from."""

    source: str
    folder: Path
    line: int | None = None

    def at(self, line: int) -> "Where":
        """Return the same source at a line (1-based)."""
        return self if self.source == SET else replace(self, line=line)


@dataclass(frozen=True)
class Node:
    """A value with its origin; `problem` says why it cannot be used, if so."""

    value: "dict[str, Node] | list[Node] | str | int | float | bool | None"
    where: Where
    problem: str | None = None


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a config, at one place."""

    where: Where
    path: KeyPath
    what: str

    def __str__(self) -> str:
        line = f", line {self.where.line}" if self.where.line else ""
        path = f"{'.'.join(map(str, self.path))}: " if self.path else ""
        return f"{self.where.source}{line}: {path}{self.what}"


def refuse(*problems: Problem) -> ConfigError:
    """Return the error that lists the problems, those of one file in the order of its lines."""
    lines = [str(p) for p in sorted(problems, key=lambda p: (p.where.source, p.where.line or 0))]
    if len(lines) == 1:
        return ConfigError(lines[0])
    more = [f"and {len(lines) - _MOST_LISTED} more"] if len(lines) > _MOST_LISTED else []
    return ConfigError("\n  ".join([f"{len(lines)} problems:", *lines[:_MOST_LISTED], *more]))


# How a plain (unquoted) scalar is read: tag, pattern, first characters.
_NULL, _BOOL, _INT, _FLOAT, _STR = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")
)
_RESOLVED = (
    (_NULL, r"~|null|Null|NULL|", [*"~nN", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    (_INT, r"[-+]?(0|[1-9][0-9]*)", [*"-+0123456789"]),
    (_FLOAT, r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("!switch", r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", [*"yYnNoO"]),
    ("!octal", r"[-+]?0[0-9]+", [*"-+0"]),
    ("!sexagesimal", r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?", [*"-+0123456789"]),
    ("!exponent", r"[-+]?[0-9]+[eE][-+]?[0-9]+", [*"-+0123456789"]),
)
_READ: dict[str, Callable[[str], Any]] = {
    _NULL: lambda _: None,
    _BOOL: lambda text: {"true": True, "false": False}[text.lower()],
    _INT: int,
    _FLOAT: float,
    _STR: str,
}


def _switch(text: str) -> str:
    boolean = "true" if text.lower() in ("yes", "on") else "false"
    return f'{text} is {boolean} to some YAML readers; write {boolean}, or "{text}" for text'


def _octal(text: str) -> str:
    number = f"{int(text)}"
    return f'{text} is octal to some YAML readers; write {number} for the number, or "{text}" for text'


def _sexagesimal(text: str) -> str:
    return f'{text} is a number in base 60 to some YAML readers; write "{text}" for text'


def _exponent(text: str) -> str:
    mantissa, _, exponent = text.lower().partition("e")
    number = f"{mantissa}.0e{int(exponent):+d} or {Decimal(text):f}"
    return f'{text} is text to some YAML readers; write {number} for the number, or "{text}" for text'


_TRAPS = {"!switch": _switch, "!octal": _octal, "!sexagesimal": _sexagesimal, "!exponent": _exponent}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(yaml.SafeDumper):
    # The loader's, so that text which would be read as anything else is quoted.
    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


for _tag, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), _first)


def _represent_list(dumper: _Dumper, values: list[Any]) -> yaml.Node:
    is_flat = not any(isinstance(v, dict | list) for v in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=is_flat)


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # PyYAML writes these line breaks as they are, and reads them as spaces; in double quotes it escapes them.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar(_STR, text, style)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)


def to_yaml(tree: dict[str, Any]) -> str:
    """Write a plain tree as YAML that reads back to the same tree; keys keep their order."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def parse(text: str, where: Where, path: KeyPath = ()) -> Node:
    """Read YAML into a tree; an empty text is a `Node` of None.

    Args:
        text: one YAML document.
        where: its source.
        path: where in the config the document stands, for messages.

    Raises:
        ConfigError: the text is not valid YAML. Values that are valid but cannot be used carry a `problem`.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        return Node(None, where) if root is None else replace(_node(root, where, where), where=where)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = where.at(mark.line + 1) if mark else where
        what = _syntax(error.problem or "", text.splitlines()[mark.line : mark.line + 1] if mark else [])
    except yaml.reader.ReaderError as error:
        at = where.at(text.count("\n", 0, error.position) + 1)
        what = f"the control character {chr(error.character)!r} is not allowed in YAML; remove it"
    except RecursionError:
        at, what = where, "nested too deeply, or an alias that contains itself"
    raise refuse(Problem(at, path, what))


def _syntax(problem: str, line: Iterable[str]) -> str:
    if any("\t" in text[: len(text) - len(text.lstrip())] for text in line):
        return "YAML cannot be indented with tabs; use spaces"
    return f"not valid YAML: {problem}; a value with special characters (: # * & @ % {{ [) needs quotes"


def _node(node: yaml.Node, where: Where, root: Where) -> Node:
    if isinstance(node, yaml.MappingNode):
        return Node(_entries(node, root), where)
    if isinstance(node, yaml.SequenceNode):
        return Node([_node(item, root.at(item.start_mark.line + 1), root) for item in node.value], where)
    if node.tag in _TRAPS:
        return Node(node.value, where, _TRAPS[node.tag](node.value))
    try:
        return Node(_READ[node.tag](node.value), where)
    except (KeyError, ValueError):
        return Node(node.value, where, f"the tag {node.tag} has no meaning here; write the value without it")


def _entries(node: yaml.MappingNode, root: Where) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for key, value in node.value:
        where = root.at(key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode):
            raise refuse(
                Problem(
                    where,
                    (),
                    "a key must be text, not a list or mapping; text that starts with { needs quotes",
                )
            )
        entry = _node(value, where, root)
        if key.value in entries:
            first = entries[key.value].where.line
            entry = replace(
                entry, problem=f"the key stands twice{f', first on line {first}' if first else ''}; keep one"
            )
        entries[key.value] = entry
    return entries
