"""A YAML file, what it extends and the command line's overrides, to a typed config.

A value `${NAME}` is filled in from the environment for the config only. `Loaded.public` and every message are
made from the tree in which it still stands as `${NAME}`.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ecbehave.config import Config
from ecbehave.config.words import explain
from ecbehave.config.yaml import SET, KeyPath, Node, Problem, Where, parse, refuse

C = TypeVar("C", bound=Config)

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: Shorter values are no secrets, and stand in other words.
_SHORTEST_SECRET = 4

#: Keys with a path, besides those of sources.
_PATHS: tuple[KeyPath, ...] = (
    ("workspace",),
    ("evaluate", "truth"),
    ("task", "items", "allow"),
    ("task", "items", "deny"),
    ("predict", "sessions"),
)


@dataclass(frozen=True)
class Loaded(Generic[C]):
    """A config, and the same as a plain dict that may be shown and stored.

    `public` has every key with its default filled in, JSON values only, and `${NAME}` in place of what came
    from the environment. Whatever is written or printed is taken from it, never from `config`.
    """

    config: C = field(repr=False)
    public: dict[str, Any]
    secrets: Mapping[str, str] = field(repr=False)
    """Environment variables that were filled in, and their values."""

    def masked(self, text: str) -> str:
        """Return a text with `${NAME}` in place of every value that came from the environment."""
        for name, value in sorted(self.secrets.items(), key=lambda item: -len(item[1])):
            if len(value) >= _SHORTEST_SECRET:
                text = text.replace(value, f"${{{name}}}")
        return text


def load(
    path: Path, config_class: type[C], overrides: Sequence[str] = (), workspace: str | None = None
) -> Loaded[C]:
    """Read a config.

    Args:
        path: the YAML file.
        config_class: `Config` with the model kinds that can be chosen.
        overrides: `a.b=value` each, the value in YAML; relative paths start from the current directory.
        workspace: replaces the file's, relative to the current directory.

    Raises:
        ConfigError: anything is wrong with the file or the overrides; the message lists every place.
    """
    tree = _read(path)
    # A changed kind drops the section's other keys, so it goes before overrides of those keys.
    for text in sorted(overrides, key=lambda text: not text.partition("=")[0].endswith(".kind")):
        tree = _override(tree, text)
    if workspace is not None:
        tree = _put(tree, ("workspace",), Node(workspace, Where("--workspace", Path.cwd())))
    if "name" not in _entries(tree):
        tree = _put(tree, ("name",), Node(path.stem, tree.where))
    return _checked(tree, config_class)


def _checked(tree: Node, config_class: type[C]) -> Loaded[C]:
    problems = [Problem(n.where, p, what) for p, n in _walk(tree) for what in _unusable(p, n)]
    shown = _plain(tree, _text)
    config, errors = _validate(config_class, _plain(tree, lambda path, node: _fill(_text(path, node))))
    if errors:
        _, shown_errors = _validate(config_class, shown)
        known = {p.path for p in problems}
        explained = explain(errors, shown_errors, shown, config_class)
        problems += [
            Problem(_find(tree, p).where, p, what) for p, what in explained.items() if p not in known
        ]
    if config is None or problems:
        raise refuse(*problems)
    public = config.model_dump(mode="json")
    for path, node in _walk(tree):
        if isinstance(node.value, str) and _VARIABLE.search(node.value):
            _value(public, path[:-1])[path[-1]] = _value(shown, path)
    names = {
        name
        for _, node in _walk(tree)
        if isinstance(node.value, str)
        for name in _VARIABLE.findall(node.value)
    }
    return Loaded(config, public, {name: os.environ[name] for name in names})


def _validate(config_class: type[C], tree: dict[str, Any]) -> tuple[C | None, list[ErrorDetails]]:
    try:
        # Strict: "5" is no number, 1 and "no" are no booleans.
        return config_class.model_validate(tree, strict=True), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_input=False)


def _read(path: Path, chain: tuple[Path, ...] = ()) -> Node:
    where = Where(str(path), path.parent)
    if path.resolve() in (p.resolve() for p in chain):
        circle = " -> ".join(map(str, (*chain, path)))
        raise refuse(Problem(where, ("extends",), f"goes in a circle: {circle}; take one of them out"))
    tree = parse(_contents(path, where, chain), where)
    if tree.value is None:
        raise refuse(Problem(where, (), "the file is empty; write keys such as dataset, task and model"))
    if not isinstance(tree.value, dict):
        found = "a list" if isinstance(tree.value, list) else "a single value"
        raise refuse(Problem(where, (), f"must hold keys with values (task: ...), not {found}"))
    extends = tree.value.pop("extends", None)
    if extends is None:
        return tree
    if extends.problem or not isinstance(extends.value, str):
        what = extends.problem or "must be the path of one YAML file"
        raise refuse(Problem(extends.where, ("extends",), what))
    base = Path(_absolute(extends)) if extends.value.startswith("~") else path.parent / extends.value
    return _merge(_read(base, (*chain, path)), tree)


def _contents(path: Path, where: Where, chain: tuple[Path, ...]) -> str:
    asked = f" ({chain[-1]} extends it)" if chain else ""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        what = f"there is no such file{asked}; give the path of a YAML file"
    except IsADirectoryError:
        what = f"is a folder{asked}; give the path of a YAML file"
    except UnicodeDecodeError as error:
        line = bytes(error.object).count(b"\n", 0, error.start) + 1
        where, what = where.at(line), f"is not UTF-8{asked}; save the file with that encoding"
    except OSError as error:
        what = f"cannot be read{asked}: {error.strerror}"
    raise refuse(Problem(where, (), what))


def _entries(node: Node) -> dict[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def _children(node: Node) -> Iterator[tuple[str | int, Node]]:
    yield from enumerate(node.value) if isinstance(node.value, list) else _entries(node).items()


def _changes_kind(section: dict[str, Node], kind: Node | None) -> bool:
    return kind is not None and "kind" in section and section["kind"].value != kind.value


def _merge(base: Node, top: Node) -> Node:
    """Lay `top` over `base`: mappings merge, unless `kind` changes; anything else replaces."""
    if not isinstance(base.value, dict) or not isinstance(top.value, dict):
        return top
    if _changes_kind(base.value, top.value.get("kind")):
        return top
    merged = {k: _merge(base.value[k], n) if k in base.value else n for k, n in top.value.items()}
    return replace(top, value=base.value | merged)


def _override(tree: Node, text: str) -> Node:
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    where = Where(SET, Path.cwd())
    if not equals or not all(path):
        what = f"{text!r} is not of the form KEY=VALUE, such as task.horizon=28d"
        raise refuse(Problem(where, (), what))
    return _put(tree, path, parse(value, where, path))


def _put(tree: Node, path: tuple[str, ...], new: Node, above: tuple[str, ...] = ()) -> Node:
    """Return the tree with `new` at `path`; mappings on the way are made."""
    if not path:
        return new
    part, rest, here = path[0], path[1:], (*above, path[0])
    if isinstance(tree.value, list):
        n = len(tree.value)
        if not part.isdecimal() or int(part) >= n:
            what = f"{'.'.join(above)} is a list; give a position from 0 to {n - 1} instead of {part!r}"
            raise refuse(Problem(new.where, here, what if n else f"{'.'.join(above)} is an empty list"))
        at = int(part)
        changed = _put(tree.value[at], rest, new, here)
        return replace(tree, value=[*tree.value[:at], changed, *tree.value[at + 1 :]])
    section = _entries(tree)
    if part == "kind" and not rest and _changes_kind(section, new):
        section = {}
    below = section.get(part, Node({}, new.where))
    where = tree.where if isinstance(tree.value, dict) else new.where
    return Node(section | {part: _put(below, rest, new, here)}, where, tree.problem)


def _walk(node: Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
    yield path, node
    for key, child in _children(node):
        yield from _walk(child, (*path, key))


def _plain(node: Node, text: Callable[[KeyPath, Node], str], path: KeyPath = ()) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(child, text, (*path, key)) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child, text, (*path, i)) for i, child in enumerate(node.value)]
    return text(path, node) if isinstance(node.value, str) else node.value


def _find(node: Node, path: KeyPath) -> Node:
    """Return the node at `path`, or the last one on the way to it."""
    for part in path:
        below = dict(_children(node)).get(part)
        if below is None:
            return node
        node = below
    return node


def _value(tree: Any, path: KeyPath) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _unusable(path: KeyPath, node: Node) -> Iterator[str]:
    if node.problem:
        yield node.problem
    if not isinstance(node.value, str):
        return
    names = _VARIABLE.findall(node.value)
    yield from (f"the environment variable {n} is not set" for n in names if n not in os.environ)
    if "${" in _VARIABLE.sub(" ", node.value):
        yield "a placeholder is the name of an environment variable in braces, such as ${DB_PASSWORD}"
    if _is_path(path) and _absolute(node).startswith("~"):
        yield f"there is no home folder for {node.value.split('/')[0]}"


def _fill(text: str) -> str:
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), text)


def _text(path: KeyPath, node: Node) -> str:
    return _absolute(node) if _is_path(path) else str(node.value)


def _is_path(path: KeyPath) -> bool:
    is_source = len(path) == 4 and path[:2] == ("dataset", "sources") and path[3] == "path"
    return is_source or path in _PATHS or path[-2:] == ("pretrain", "source")


def _absolute(node: Node) -> str:
    """Return the path from the folder of the file that says it; placeholders stay."""
    text = str(node.value)
    if text.startswith("~"):
        return os.path.expanduser(text)  # noqa: PTH111 (leaves an unknown user's ~ as it is)
    if Path(_fill(text)).is_absolute():
        return text
    joined = str(node.where.folder.resolve() / text)
    # `..` after a placeholder may go up more than one folder of what is filled in.
    return joined if "${" in text else os.path.normpath(joined)
