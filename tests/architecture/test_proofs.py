"""Every promise about scheduling and about runs names the tests that prove it, and those tests are there."""

from __future__ import annotations

import ast
import re

from tests.architecture.project import ROOT

PAGES = ("docs/scheduling.md", "docs/run-lifecycle.md")
PROMISES = {
    *(f"P{number}" for number in range(1, 21) if number != 19),
    *(f"N{number}" for number in range(1, 20)),
    *(f"R{number}" for number in range(1, 15)),
}
ROW = re.compile(r"^\| ([PNR]\d+) [^|]+ \| ([^|]+) \|$", re.MULTILINE)
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def proofs() -> dict[str, list[tuple[str, str]]]:
    """Return the tests that the pages name for each promise, as file and name."""
    rows = [row for page in PAGES for row in ROW.findall((ROOT / page).read_text())]
    return {number: PROOF.findall(tests) for number, tests in rows}


def test_every_promise_has_a_proof() -> None:
    named = proofs()
    assert set(named) == PROMISES
    assert all(named.values())


def test_every_proof_is_a_test() -> None:
    tests = {proof for found in proofs().values() for proof in found}
    missing = [f"{path}::{name}" for path, name in sorted(tests) if name not in functions_of(path)]
    assert missing == []


def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
