"""The benchmarks' harness says what it measured, what the bar is, and which peer is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import peers
from tests.benchmarks.peers import ROOT
from tests.benchmarks.rows import Case, table

FASTER = Case(name="runs", unit="per second", better="higher", bar=100)
SMALLER = Case(name="memory", unit="MB", better="lower")


def test_a_row_holds_medians_and_says_whether_the_bar_is_reached() -> None:
    row = FASTER.row("scheduler", [90.0, 120.0, 110.0], {"slow": [1.0, 3.0, 2.0], "gone": "not installed: no network"})
    assert row.as_json() == {
        "suite": "scheduler",
        "case": "runs",
        "unit": "per second",
        "ours": 110,
        "peers": {"slow": 2.0, "gone": "not installed: no network"},
        "bar": 100,
        "ok": True,
    }


@pytest.mark.parametrize(("ours", "ok"), [(40.0, True), (60.0, False)])
def test_without_a_bar_no_peer_may_be_better(ours: float, ok: bool) -> None:
    assert SMALLER.row("scheduler", [ours], {"big": [90.0], "small": [50.0]}).ok is ok


def test_the_table_names_every_peer_and_how_it_compares() -> None:
    text = table([SMALLER.row("scheduler", [50.0], {"big": [100.0], "gone": "not installed: no network"})])
    assert "ours is 2.0 × as good" in text
    assert "not installed: no network" in text


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.txt").write_text("no-such-requirement==1.0 --hash=sha256:00\n")
    monkeypatch.setattr(peers, "LOCKS", tmp_path)
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setattr(peers, "UV", Path(sys.executable))
    assert peers.installed("broken").problem.startswith("not installed: ")


def test_the_suites_run_at_their_smallest_and_write_their_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--alone", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())
    assert {row["suite"] for row in rows} == {"scheduler", "recurrence", "throughput", "latency", "context", "fairness"}
    assert all(set(row["peers"].values()) == {"left out"} for row in rows)
    assert all(row["ours"] > 0 for row in rows if row["suite"] != "context")  # that one tells differences
    assert all(f"{row['suite']}: {row['case']}" in done.stdout for row in rows)
