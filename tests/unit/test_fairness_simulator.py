"""The simulator of fairness shows what the dispatcher's rule promises, the same each time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.embedded import ROOT
from scripts.simulator import Setup, Tenant, arrivals, entitled, main, make_tenants, outcomes


def test_overloaded_tenants_get_their_weighted_shares_of_the_time() -> None:
    picture = outcomes(Setup(seconds=3600, load=2.0, long_runs=0.05, interactive=0.0, heavy_every=3))
    for row in picture.classes:
        assert row.got == pytest.approx(row.fair, rel=0.05)
    greedy = [row for row in picture.tenants[:3] if row.asked > row.fair]
    assert {row.name: row.got for row in greedy} == pytest.approx({row.name: row.fair for row in greedy}, rel=0.1)


def test_a_small_tenant_waits_less_than_in_one_queue_with_a_large_one() -> None:
    small = outcomes(Setup()).classes[-1]
    assert small.name == "small"
    assert small.p95 < small.plain_p95 / 5


def test_what_one_leaves_is_divided_among_the_others() -> None:
    tenants = [
        Tenant(number=number, size="", weight=weight, max_running=cap, asked=asked)
        for number, (weight, cap, asked) in enumerate([(1, 9, 10), (1, 9, 90), (2, 9, 90), (1, 1, 90)])
    ]
    assert entitled(tenants[:3], 100, seconds=10) == pytest.approx([10, 30, 60])
    assert entitled(tenants, 100, seconds=10) == pytest.approx([10, 80 / 3, 160 / 3, 10])


def test_a_tenant_of_more_weight_gets_more_and_one_with_a_cap_never_more_than_that() -> None:
    alike = Setup(zipf=0.0, tenants=4, load=2.0, seconds=900)
    heavy, *others = outcomes(replace(alike, weights={1: 2.0})).tenants
    assert heavy.name == "tenant 1 ×2"
    assert heavy.got == pytest.approx(0.4, rel=0.05)
    assert [each.got for each in others] == pytest.approx([0.2] * 3, rel=0.05)
    capped, *others = outcomes(replace(alike, caps={1: 1})).tenants
    assert capped.name == "tenant 1 ≤1"
    assert capped.got == pytest.approx(capped.fair, rel=0.1)
    assert capped.fair < min(each.fair for each in others) / 2


def test_what_a_person_waits_for_starts_soon_however_much_else_waits() -> None:
    interactive, bulk = outcomes(Setup(load=2.0, interactive=0.05)).lanes
    assert (interactive.name, bulk.name) == ("interactive", "bulk")
    assert interactive.p95 < bulk.p95 / 20
    assert interactive.p95 < interactive.plain_p95 / 20


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
    picture = outcomes(setup)
    assert len(picture.tenants) == len(make_tenants(setup))
    assert sum(row.tenants for row in picture.classes) == len(picture.tenants)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--tenants", "0"], "argument --tenants: '0' is not a whole number, 1 or more"),
        (["--slots", "many"], "argument --slots: 'many' is not a whole number, 1 or more"),
        (["--load", "0"], "argument --load: '0' is not a number, 0.01 or more"),
        (["--seconds", "nan"], "argument --seconds: 'nan' is not a number, 0.01 or more"),
        (["--long-runs", "2"], "argument --long-runs: '2' is not a number, 0 to 1"),
        (["--weight", "heavy"], "argument --weight: 'heavy' is not like 1=2, the number of a tenant and its value"),
        (["--cap", "1=half"], "argument --cap: 'half' is not a whole number, 1 or more"),
        (["--cap", "21=1"], "there is no tenant 21: they are numbered from 1, the largest, to 20"),
        (["--seconds", "1", "--svg", "/nowhere/picture.svg"], "/nowhere/picture.svg cannot be written: No such file"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_simulated_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(options, lambda _: None)
    assert sentence in capsys.readouterr().err
