"""What the documentation lists is all there is, and nothing that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from config.settings import Settings
from dashboard.pages import COMMANDS
from tests.architecture.project import ROOT
from tests.architecture.project import shown as shown_path

TABLE_ROW = re.compile(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ASSIGNMENT = re.compile(r"^# (?P<about>.+)\n(?:# )?(?P<name>[A-Z_]+)=\"", re.MULTILINE)
DOCUMENTS = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FIELDS = {name.upper(): field for name, field in Settings.model_fields.items()}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_explained_with_its_default() -> None:
    ours = read("docs/settings.md").partition("## What other programs read")[0]
    rows = {name: (default.strip(), about.strip()) for name, default, about in TABLE_ROW.findall(ours)}
    assert {name: about for name, (_, about) in rows.items()} == {n: field.description for n, field in FIELDS.items()}
    for name, field in FIELDS.items():
        assert rows[name][0] == shown(field.default, required=field.is_required()), name


def test_the_example_environment_holds_every_setting_quoted() -> None:
    found = {match["name"]: match["about"] for match in ASSIGNMENT.finditer(read(".env.example"))}
    assert found == {name: field.description for name, field in FIELDS.items()}
    bare = [line for line in read(".env.example").splitlines() if "=" in line and not re.search(r'="[^"]*"$', line)]
    assert bare == []


def shown(default: object, *, required: bool) -> str:
    if required:
        return "required"
    if isinstance(default, bool):
        return "`1`" if default else "`0`"
    return "unset" if default in (None, "", ()) else f"`{default}`"


def commands() -> list[str]:
    names = []
    for command in COMMANDS:
        members = command.commands.values() if isinstance(command, click.Group) else [None]
        names += [f"{command.name} {member.name}" if member else str(command.name) for member in members]
    return names


def test_the_documented_commands_are_those_that_there_are() -> None:
    documented = re.findall(r"^\| `flask ([a-z]+(?: [a-z]+)?)", read("docs/command-line.md"), re.MULTILINE)
    assert sorted(documented) == sorted([*commands(), "db upgrade"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown_path)
def test_its_links_lead_to_files_that_are_there(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
