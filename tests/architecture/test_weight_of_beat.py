"""Beat loads neither pages nor Celery, so that it starts quickly and stays small."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.project import ROOT

LEFT_OUT = (
    "celery",
    "kombu",
    "cryptography.hazmat",
    "flask_admin",
    "flask_limiter",
    "flask_login",
    "flask_wtf",
    "wtforms",
    "alembic",
    "holidays",
    "flower",
)
"""What only pages, workers, commands and secrets need."""

PAGES = ("views", "forms", "board", "commands", "pages")
"""The files of a feature that only pages and commands need."""

MAY_STAY = {"dashboard.emails.board"}
"""A job type shows its own detail on a run's page, and so brings what that reads."""


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    """The modules that beat's program loads before it reads its settings."""
    code = "import sys, worker.beat; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("library", LEFT_OUT)
def test_beat_does_without(loaded: list[str], library: str) -> None:
    assert [name for name in loaded if f"{name}.".startswith(f"{library}.")] == []


def test_beat_loads_no_page(loaded: list[str]) -> None:
    ours = {name for name in loaded if name.startswith("dashboard.")}
    assert {name for name in ours if name.rpartition(".")[2] in PAGES} == MAY_STAY
    assert ours.isdisjoint({"dashboard.app", "dashboard.navigation", "dashboard.core.templating"})
    assert not any(name.startswith(("dashboard.admin", "dashboard.monitor", "dashboard.overview")) for name in ours)
