"""Modules are named for what they hold, say what they are for, and read the environment in one place."""

import ast
from pathlib import Path

import pytest

from tests.architecture.project import ALL_SOURCES, ROOT, SOURCES, shown, tree

# A name that says nothing collects what has no home: put the function beside its only caller or find an honest name.
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "services", "service", "manager", "base"}
READS_THE_ENVIRONMENT = {ROOT / "config" / "settings.py"}


@pytest.mark.parametrize("path", ALL_SOURCES, ids=shown)
def test_its_name_says_what_it_holds(path: Path) -> None:
    assert not FORBIDDEN_NAMES & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}


@pytest.mark.parametrize("path", ALL_SOURCES, ids=shown)
def test_its_docstring_says_in_a_sentence_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(tree(path)) or ""
    assert docstring.partition("\n")[0].strip().endswith((".", "?")) or docstring.partition("\n\n")[0].endswith(".")


@pytest.mark.parametrize("path", [path for path in SOURCES if path not in READS_THE_ENVIRONMENT], ids=shown)
def test_it_leaves_the_environment_to_the_settings(path: Path) -> None:
    names = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and is_os(node.value)}
    names |= {
        alias.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
    }
    assert not names & {"environ", "environb", "getenv", "putenv", "unsetenv"}


def is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_it_imports_at_its_top_only(path: Path) -> None:
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = [node for function in functions for node in ast.walk(function)]
    assert not [node.lineno for node in inner if isinstance(node, ast.Import | ast.ImportFrom)]
