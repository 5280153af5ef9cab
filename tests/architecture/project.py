"""Reads our own source as the architecture tests need it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("config", "dashboard", "worker")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_SOURCES = sorted(
    path for package in (*PACKAGES, "migrations", "scripts", "tests") for path in (ROOT / package).rglob("*.py")
)


def shown(path: Path) -> str:
    """The path as a test's name says it."""
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    """The dotted name under which a source file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text(), str(path))
