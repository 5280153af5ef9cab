"""Everything dies in turn while many runs are worked off."""

from __future__ import annotations

import random

import pytest

from tests.chaos.site import Site
from tests.chaos.storm import Storm

pytestmark = pytest.mark.xdist_group("chaos")


def test_no_run_is_lost_and_none_is_doubled_while_everything_dies_in_turn(site: Site) -> None:
    storm = Storm(site, random.Random(27))
    report = storm.blow(kills=5, runs=120)
    assert (report.lost, report.completed_twice, report.counter_drift) == (0, 0, 0), f"{report}\n{storm.said()}"
    assert report.succeeded + report.listed == report.runs
