"""Runs `flask` commands as people and programs do, and reads their answers."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result

from dashboard.app import Dashboard


def flask(app: Dashboard, *words: str, stdin: str = "") -> Result:
    return app.test_cli_runner().invoke(args=list(words), input=stdin)


def answer(app: Dashboard, *words: str, stdin: str = "") -> Any:
    """Return what a command that succeeds answers to a program."""
    result = flask(app, *words, "--json", stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)
