"""Failures of one kind have one fingerprint, however their messages differ in what varies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.runs import dispatcher, leases, reaper
from dashboard.runs.dispatcher import Pace
from dashboard.runs.fingerprint import LONGEST_LIKENESS, fingerprint, likeness
from dashboard.runs.leases import Fault, Outcome
from tests.factories.ledger import enqueue_runs, make_worker, run_of
from tests.factories.runs import make_run

ALIKE = [
    ("Row 17 of 2,040 is bad", "Row 4 of 9 is bad"),
    ("No customer 0190f3a2-7c1e-7a33-8d15-2f7d8e9a0b1c", "No customer 0190f3a2-ffff-7a33-8d15-000000000000"),
    ("olivia@acme.example has no account", "peter.o'neill@mail.globex.example has no account".replace("o'", "o")),
    ("Not before 2026-11-25T09:14:03+00:00", "Not before 2027-01-01 00:00:00.123456Z"),
    ("GET https://api.test/v1/things?id=4 said 503", "GET http://10.0.0.1:8080/x said 503"),
    ("<object at 0x7f3e12ab>", "<object at 0xdeadbeef>"),
    ("commit 3f2a9c1 is gone", "commit 00e1f9abcdef12 is gone"),
    ("No route to 10.0.0.1:5432", "No route to 192.168.7.20:5433"),
    ("It   failed\n twice", "It failed twice"),
]

DIFFERENT = [("Mailbox full", "Mailbox gone"), ("KeyError: 'name'", "KeyError: 'mail'"), ("faded", "added")]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_varies_makes_no_difference(one: str, other: str) -> None:
    assert likeness("ValueError", one) == likeness("ValueError", other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_words_are_another_failure(one: str, other: str) -> None:
    assert likeness("ValueError", one) != likeness("ValueError", other)


def test_another_type_of_error_is_another_failure() -> None:
    assert likeness("ValueError", "no") != likeness("TypeError", "no")


def test_where_nothing_went_wrong_there_is_nothing_in_common() -> None:
    assert likeness("", "") == ""


@pytest.mark.parametrize("text", ["a" * 10_000_000, "1." * 100_000, "a@" * 100_000, "f1" * 100_000, "-" * 100_000])
def test_a_message_of_any_length_is_cut(text: str) -> None:
    assert len(likeness("E", text)) <= LONGEST_LIKENESS + 2


def ended(app: Dashboard, tenant: Tenant, job_type: str, fault: Fault, state: str = "failed") -> str:
    """Return the fingerprint of a run of `job_type` that ended so."""
    make_worker(app, 9)
    (run_id,) = enqueue_runs(app, tenant, job_type=job_type)
    with app.app_context(), system_line("test") as line:
        (admitted,) = dispatcher.admit(line, lease=timedelta(seconds=30), pace=Pace())
    with app.app_context(), bound(Binding.of(tenant)):
        leases.claim(run_id, admitted.fence, lease=timedelta(seconds=30), worker="here")
        assert leases.finish(run_id, admitted.fence, Outcome(state=state, fault=fault))
    return run_of(app, run_id).fingerprint


def test_a_run_keeps_its_fingerprint_when_it_ends(app: Dashboard, acme: Tenant) -> None:
    first = ended(app, acme, "test.report", Fault(type="ValueError", message="Row 17 is bad"))
    assert first == ended(app, acme, "test.report", Fault(type="ValueError", message="Row 4 is bad"))
    assert first == fingerprint("test.report", likeness("ValueError", "Row 5 is bad"))
    assert len(first) == 16
    others = {
        ended(app, acme, "test.other", Fault(type="ValueError", message="Row 17 is bad")),
        ended(app, acme, "test.report", Fault(type="TypeError", message="Row 17 is bad")),
        ended(app, acme, "test.report", Fault(type="ValueError", message="No rows")),
    }
    assert len(others | {first}) == 4


def test_a_run_that_succeeded_has_none(app: Dashboard, acme: Tenant) -> None:
    assert ended(app, acme, "test.report", Fault(type="", message=""), "succeeded") == ""


def test_runs_whose_worker_died_are_alike_by_their_job_type(app: Dashboard, acme: Tenant) -> None:
    over: dict[str, Any] = {"lease_until": "2020-01-01T00:00:00Z"}
    once = [make_run(app, acme, "running", job_type=key, **over) for key in ("test.a", "test.a", "test.b")]
    with app.app_context(), system_scope("test") as session:
        assert {move.new for move in reaper.reap(session, timedelta())} == {"interrupted"}
    one, two, other = (run_of(app, run.id).fingerprint for run in once)
    assert one == two != other
    assert one
