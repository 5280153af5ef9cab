"""What gets installed is pinned with hashes, wherever it comes from."""

import re
from pathlib import Path

import pytest

from tests.architecture.project import ROOT

LOCKS = sorted((ROOT / "requirements").rglob("*.txt"))
REQUIREMENT = re.compile(r"^([a-zA-Z0-9._-]+)(\[[a-z,]+\])?", re.MULTILINE)
PINNED = re.compile(r"^([a-zA-Z0-9._-]+)(?:\[[a-z,]+\])?==\S+(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def pinned(lock: Path) -> dict[str, str]:
    """The text after the version of every pinned requirement, by its name."""
    return {match[1]: match[2] for match in PINNED.finditer(lock.read_text())}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_host(lock: Path) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", lock.read_text())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_in_a_lock_has_its_hashes(lock: Path) -> None:
    assert pinned(lock)
    assert [name for name, rest in pinned(lock).items() if "--hash=sha256:" not in rest] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_whatever_its_source_asks_for(lock: Path) -> None:
    asked = {
        match[1].lower() for match in REQUIREMENT.finditer(lock.with_suffix(".in").read_text()) if match[1][0] != "-"
    }
    assert asked <= set(pinned(lock))


def test_wider_locks_hold_the_same_versions_as_narrower_ones() -> None:
    lines = [
        set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
        for name in ("base.txt", "dev.txt", "test.txt")
    ]
    assert lines[0] <= lines[1] <= lines[2]
