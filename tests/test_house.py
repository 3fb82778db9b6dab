"""The rules of the house, read from the source: imports, the length of files, what is packaged."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "streams", "tracker")
LONGEST_FILE = 400
LONGEST_FUNCTION = 45
MODEL_MAY_IMPORT = {
    "__future__",
    "collections",
    "collections.abc",
    "dataclasses",
    "functools",
    "itertools",
    "math",
    "re",
    "torch",
    "typing",
}
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path) -> Iterator[str]:
    """The absolute names of the modules that a file imports; relative ones resolved."""
    package = ["keepsight", *file.relative_to(ROOT).with_suffix("").parts[:-1]]
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            yield ".".join([*base, node.module] if node.module else base)


def imported_packages(package: str) -> dict[str, set[str]]:
    """For each file of a package the top-level names it imports, `keepsight.model` and its like in full."""
    files = [file for file in SOURCES if file.is_relative_to(ROOT / package)]
    return {
        name_of(file): {
            ".".join(name.split(".")[: 2 if name.startswith("keepsight") else 1]) for name in imports(file)
        }
        for file in files
    }


def offenders(package: str, forbidden: set[str]) -> dict[str, set[str]]:
    return {
        file: names & forbidden for file, names in imported_packages(package).items() if names & forbidden
    }


def test_the_model_imports_torch_and_nothing_that_touches_the_world() -> None:
    allowed = {name.split(".")[0] for name in MODEL_MAY_IMPORT} | {"keepsight.model"}
    strangers = {file: names - allowed for file, names in imported_packages("model").items()}
    assert not {file: names for file, names in strangers.items() if names}


def test_streams_import_neither_torch_nor_the_model_nor_the_tracker() -> None:
    assert not offenders("streams", {"torch", "keepsight.model", "keepsight.tracker"})


def test_only_tests_and_examples_import_the_tracker() -> None:
    assert not offenders("model", {"keepsight.streams", "keepsight.tracker"})


def test_imports_inside_a_package_are_relative() -> None:
    for package in PACKAGES:
        for file in (file for file in SOURCES if file.is_relative_to(ROOT / package)):
            absolute = [
                node.module
                for node in ast.walk(tree_of(file))
                if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module
            ]
            assert not [name for name in absolute if name.startswith(f"keepsight.{package}")], name_of(file)


def names_in(tree: ast.Module) -> Iterator[str]:
    """What a file calls by its name, after a dot, or by importing it."""
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                yield node.id
            case ast.Attribute():
                yield node.attr
            case ast.ImportFrom():
                yield from (alias.name for alias in node.names)


def test_only_one_module_starts_threads() -> None:
    """But for the two that take turns at PyTorch's calls within one call of the model's thread."""
    starters = {
        name_of(file)
        for file in SOURCES
        if {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread"} & set(names_in(tree_of(file)))
    }
    assert starters == {"streams/threads.py", "tracker/engine.py", "tracker/race.py"}


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_a_file_can_be_read_in_one_sitting(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    functions = (
        node for node in ast.walk(tree_of(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = {node.name: body_length(node) for node in functions if body_length(node) > LONGEST_FUNCTION}
    assert not long


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_a_module_opens_with_what_it_is_for(file: Path) -> None:
    if file.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree_of(file))


def test_every_folder_of_code_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {".".join(("keepsight", *file.parent.relative_to(ROOT).parts)) for file in SOURCES}
    assert folders == set(project["tool"]["setuptools"]["packages"])


def test_examples_are_short() -> None:
    examples = list((ROOT / "examples").glob("*.py"))
    assert examples
    assert all(len(file.read_text(encoding="utf-8").splitlines()) <= 40 for file in examples)
