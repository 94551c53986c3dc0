"""Imports go one way, as DESIGN.md (section 8) draws them, and heavy libraries stay where they belong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from shops import ROOT

PACKAGE = ROOT / "ecbehave"
#: From the top down; a module imports its own line or lower ones. A name stands for a file or a folder.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"stages"},
    {"tasks", "inputs", "models", "sources", "report", "progress", "simulate"},
    {"metrics", "windows", "artifacts", "schema", "tables", "buckets", "config", "memory", "parallel"},
    {"errors", "__init__"},
)  # fmt: skip
#: Parts of one line that know nothing of each other; a model may know the form of its input, and make it ready.
APART = {"tasks", "inputs", "models", "sources", "report", "progress", "simulate"}
ALLOWED = {("models", "ecbehave.inputs.types"), ("models", "ecbehave.inputs.transform")}
#: Library to where it may be imported; `True`: only inside functions, when it is needed.
PLACES = {
    "torch": (("models/deep/",), False),
    "lightgbm": (("models/", "metrics/"), True),
    "sklearn": (("models/", "metrics/"), True),
    "optuna": (("models/",), True),
    "typer": (("cli.py", "progress.py"), False),
    "rich": (("cli.py", "progress.py"), True),
    "pandas": ((), False),
    "pickle": ((), False),
    "joblib": ((), False),
}
FILES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def imports(file: str) -> Iterator[tuple[str, bool]]:
    """Every imported name of a file, and whether it is imported inside a function."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(child) for function in functions for child in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from ((f"{node.module}.{alias.name}", id(node) in inside) for alias in node.names)


def part_of(module: str) -> str:
    """The part of the package that an imported name belongs to; `from ecbehave import __version__` is `__init__`."""
    name = module.split(".")[1]
    return name if name in set().union(*LAYERS) else "__init__"


def level(part: str) -> int:
    return next(n for n, parts in enumerate(LAYERS) if part in parts)


def test_the_table_names_every_part() -> None:
    assert {Path(file).parts[0].removesuffix(".py") for file in FILES} == set().union(*LAYERS)


@pytest.mark.parametrize("file", FILES)
def test_imports_go_one_way(file: str) -> None:
    own = Path(file).parts[0].removesuffix(".py")
    for module, _ in imports(file):
        if module.split(".")[0] != "ecbehave":
            continue
        part = part_of(module)
        assert level(part) >= level(own), f"{file} imports {module} from a higher layer"
        is_allowed = any(own == o and module.startswith(m) for o, m in ALLOWED)
        assert part == own or is_allowed or not {part, own} <= APART, f"{file} imports {module}"


@pytest.mark.parametrize("file", FILES)
def test_libraries_stay_in_their_place(file: str) -> None:
    for module, is_inside in imports(file):
        places, only_inside = PLACES.get(module.split(".")[0], (("",), False))
        assert file.startswith(places), f"{file} imports {module}"
        assert is_inside or not only_inside, f"{file} imports {module} when it is loaded"
