"""The command for a storm of any size lets one blow on an installation of its own, and prints what it left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("chaos")


def test_a_small_storm_is_told_and_written_down(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.chaos.report", "--kills", "1", "--runs", "10", "--json", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, f"{told.stdout}\n{told.stderr}"
    report = json.loads(file.read_text())
    assert report["runs"] >= 10
    assert (report["lost"], report["completed_twice"]) == (0, 0)
    assert f"{'kills':<18} {report['kills']}" in told.stdout
