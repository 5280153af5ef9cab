"""The simulator of fairness shows what the dispatcher's rule promises, the same each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.embedded import ROOT
from scripts.simulator import Setup, Tenant, arrivals, entitled, main, make_tenants, outcomes


def test_overloaded_tenants_get_their_weighted_shares_of_the_time() -> None:
    classes, each = outcomes(Setup(seconds=3600, load=2.0, long_runs=0.05, heavy_every=3))
    for row in classes:
        assert row.got == pytest.approx(row.fair, rel=0.05)
    greedy = [row for row in each[:3] if row.asked > row.fair]
    assert {row.name: row.got for row in greedy} == pytest.approx({row.name: row.fair for row in greedy}, rel=0.1)


def test_a_small_tenant_waits_less_than_in_one_queue_with_a_large_one() -> None:
    classes, _ = outcomes(Setup())
    small = classes[-1]
    assert small.name == "small"
    assert small.p95 < small.plain_p95 / 5


def test_what_one_leaves_is_divided_among_the_others() -> None:
    tenants = [Tenant(number=0, size="", weight=1, asked=10), Tenant(number=1, size="", weight=1, asked=90)]
    tenants.append(Tenant(number=2, size="", weight=2, asked=90))
    assert entitled(tenants, 100) == pytest.approx([10, 30, 60])


def test_the_same_seed_makes_the_same_picture(tmp_path: Path) -> None:
    said: list[list[str]] = []
    for number in range(2):
        lines: list[str] = []
        main(["--seconds", "60", "--seed", "7", "--svg", str(tmp_path / f"{number}.svg")], lines.append)
        said.append(lines)
    assert said[0] == said[1]
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()
    assert arrivals(Setup(seed=7)) != arrivals(Setup(seed=8))


def test_the_picture_shows_every_tenant(tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"
    command = [sys.executable, "-m", "scripts.simulator", "--seconds", "60", "--tenants", "5", "--svg", str(file)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = "".join(ElementTree.fromstring(file.read_text()).itertext())
    assert all(f"tenant {number}" in shown and f"tenant {number}" in words for number in range(1, 6))
    assert "one queue" in shown


@pytest.mark.parametrize("setup", [Setup(tenants=1), Setup(slots=1), Setup(seconds=1), Setup(zipf=0.0, load=0.1)])
def test_odd_setups_make_a_picture_too(setup: Setup) -> None:
    classes, each = outcomes(setup)
    assert len(each) == len(make_tenants(setup))
    assert sum(row.tenants for row in classes) == len(each)
