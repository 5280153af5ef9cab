"""What starts at once is spread by click: foreseen first, done, and taken back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule
from tests.factories import make_user
from tests.factories.schedules import make_schedule, occurrences, runs, stored
from tests.signing_in import Browser, sign_in

AT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=12)
"""A full hour of the next 24 that lies ahead, however long the tests take."""

NIGHTLY = f"0 {AT.hour} * * *"


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def nightly(app: Dashboard, tenant: Tenant, name: str = "Nightly", **values: Any) -> Schedule:
    """A schedule whose id, which its minute by H and its jitter follow from, is the same at each try."""
    fields = {
        "id": uuid5(NAMESPACE_OID, name),
        "kind": "cron",
        "crons": [NIGHTLY],
        "every_seconds": None,
        "anchor": None,
        "timezone": "UTC",
    }
    return make_schedule(app, tenant, **{"name": name, "next_at": AT, "params": {"word": "hi"}, **fields, **values})


@pytest.fixture
def together(app: Dashboard, acme: Tenant) -> list[Schedule]:
    return [nightly(app, acme, f"Nightly {number}") for number in range(4)]


def asked(way: str) -> dict[str, str]:
    return {"minute": AT.isoformat(), "way": way}


def charts(page: str) -> tuple[list[int], list[int]]:
    """Return how many runs start in each minute, now and then."""
    now, then = re.findall(r'aria-label="Starts by minute (?:now|then): ([\d, ]+)"', page)
    return [int(number) for number in now.split(",")], [int(number) for number in then.split(",")]


def test_the_load_ahead_names_what_starts_at_once_and_leads_to_spreading_it(
    operator: Browser, together: list[Schedule]
) -> None:
    page = operator.get("/calendar/load").text
    assert "4 schedules at once" in page
    assert "/calendar/load/spreads/new?minute=" in page


def test_what_has_used_up_its_runs_by_then_is_not_counted(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    for number in range(8):  # so many never stay in one minute, and two do in one hour of two hundred
        nightly(app, acme, f"Nightly {number}")
    hourly = AT - timedelta(hours=3)
    nightly(app, acme, "Ends before", crons=["0 * * * *"], next_at=hourly, start_at=hourly, runs_left=3)
    nightly(app, acme, "Ends with it", crons=["0 * * * *"], next_at=hourly, start_at=hourly, runs_left=4)
    page = operator.get("/calendar/load/spreads/new", query_string=asked("15")).text
    before, after = charts(page)
    assert (before[0], sum(before), sum(after)) == (9, 9, 9)
    assert "Ends with it" in page
    assert "Ends before" not in page


def test_where_spreading_gains_nothing_it_says_so_and_offers_no_button(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    for number in range(6):
        nightly(app, acme, f"Minutely {number}", crons=["* * * * *"])
    page = operator.get("/calendar/load/spreads/new", query_string=asked("15")).text
    assert "This gains nothing" in page
    assert 'action="/calendar/load/spreads"' not in page
    for number in range(12):
        nightly(app, acme, f"Nightly {number}")
    page = operator.get("/calendar/load/spreads/new", query_string=asked("15")).text
    assert "This gains nothing" not in page
    assert 'action="/calendar/load/spreads"' in page


@pytest.mark.parametrize(("way", "reach"), [("H", 60), ("5", 5), ("30", 30)])
def test_it_shows_the_minutes_before_and_after_and_changes_nothing(
    app: Dashboard, operator: Browser, acme: Tenant, way: str, reach: int
) -> None:
    together = [nightly(app, acme, f"Nightly {number}") for number in range(12)]  # so many never stay in one minute
    nightly(app, acme, "Spread already", jitter_seconds=60)
    page = operator.get("/calendar/load/spreads/new", query_string=asked(way)).text
    before, after = charts(page)
    assert (before[0], sum(before), len(before)) == (13, 13, 60)
    assert sum(after) == 13
    assert max(after) < 13
    assert sum(after[:reach]) == 13
    assert "Spread already" not in page
    assert {stored(app, each).rev for each in together} == {1}


def test_what_was_foreseen_is_what_comes_of_it(app: Dashboard, operator: Browser, together: list[Schedule]) -> None:
    _, foreseen = charts(operator.get("/calendar/load/spreads/new", query_string=asked("H")).text)
    operator.post("/calendar/load/spreads", data=asked("H"))
    minutes = [stored(app, each).next_at for each in together]
    assert [stored(app, each).crons for each in together] == [[f"H {AT.hour} * * *"]] * 4
    assert foreseen == [sum(at is not None and at.minute == minute for at in minutes) for minute in range(60)]
    assert (runs(app), occurrences(app)) == ([], [])


def test_jitter_leaves_the_fires_where_they_are(app: Dashboard, operator: Browser, together: list[Schedule]) -> None:
    page = operator.post("/calendar/load/spreads", data=asked("15"), follow_redirects=True).text
    assert "4 schedules spread" in page
    assert "Nothing meets" in page
    assert {(each.jitter_seconds, each.next_at) for each in (stored(app, one) for one in together)} == {(900, AT)}


@pytest.mark.parametrize("way", ["H", "15"])
def test_it_is_taken_back_by_a_click_once(
    app: Dashboard, operator: Browser, together: list[Schedule], way: str
) -> None:
    assert "Take it back" in operator.post("/calendar/load/spreads", data=asked(way), follow_redirects=True).text
    page = operator.post("/calendar/load/spreads/reversals", follow_redirects=True).text
    assert "4 schedules as before." in page
    assert "Take it back" not in page
    for each in together:
        again = stored(app, each)
        assert (again.crons, again.jitter_seconds, again.next_at, again.rev) == ([NIGHTLY], 0, AT, 3)


def test_what_somebody_has_saved_since_stays(app: Dashboard, operator: Browser, together: list[Schedule]) -> None:
    operator.post("/calendar/load/spreads", data=asked("15"))
    changed = {"job_type": "test.echo", "name": "Mine", "when": "cron", "crons": NIGHTLY, "jitter": "10"}
    answer = operator.post(f"/schedules/{together[0].id}", data={**changed, "params-word": "hi", "rev": "2"})
    assert answer.status_code == 303
    page = operator.post("/calendar/load/spreads/reversals", follow_redirects=True).text
    assert "3 schedules as before. 1 other stayed" in page
    assert stored(app, together[0]).jitter_seconds == 600


def test_h_leaves_what_names_no_minute_and_says_so(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    nightly(app, acme, "Named minute")
    often = nightly(app, acme, "Every ten minutes", crons=["*/10 * * * *"])
    page = operator.get("/calendar/load/spreads/new", query_string=asked("H")).text
    assert "1 schedule would be spread" in page
    assert "1 schedule would stay" in page
    operator.post("/calendar/load/spreads", data=asked("H"))
    assert stored(app, often).rev == 1


def test_what_has_become_invalid_is_passed_over(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    nightly(app, acme, "Fine")
    broken = nightly(app, acme, "Lost its word", params={})
    assert "1 schedule spread" in operator.post("/calendar/load/spreads", data=asked("5"), follow_redirects=True).text
    assert stored(app, broken).jitter_seconds == 0


def test_other_tenants_schedules_are_neither_counted_nor_spread(
    app: Dashboard, operator: Browser, globex: Tenant
) -> None:
    theirs = nightly(app, globex, "Globex secret plan")
    page = operator.get("/calendar/load/spreads/new", query_string=asked("5")).text
    assert "Globex" not in page
    assert "Nothing starts in this minute any more." in page
    operator.post("/calendar/load/spreads", data=asked("5"))
    assert stored(app, theirs).jitter_seconds == 0


@pytest.mark.parametrize("wrong", [{}, {"minute": "soon"}, {"minute": "2030-01-01T03:00"}, {**asked("60")}])
def test_what_the_pages_did_not_write_is_refused(operator: Browser, wrong: dict[str, str]) -> None:
    assert operator.get("/calendar/load/spreads/new", query_string=wrong).status_code == 422
    assert operator.post("/calendar/load/spreads", data=wrong).status_code == 422


def test_jitter_is_offered_first_where_h_would_spread_nothing(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    for number in range(8):  # two would meet in one of five minutes by chance
        nightly(app, acme, f"Interval {number}", kind="interval", crons=[], every_seconds=86_400, anchor=AT)
    page = operator.get("/calendar/load/spreads/new", query_string={"minute": AT.isoformat()}).text
    assert "8 schedules would be spread" in page
    nightly(app, acme, "By the calendar", id=UUID(int=1))
    page = operator.get("/calendar/load/spreads/new", query_string={"minute": AT.isoformat()}).text
    assert "1 schedule would be spread" in page
