"""A worker that is killed in the middle of a mailing: whoever got the mail gets no other, and nobody is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Actor, Tenant
from dashboard.runs import actions
from tests.factories import make_tenant, make_user
from tests.factories.ledger import enqueue_runs
from tests.factories.mailings import acting, deliveries_of, mail_params, states_of_mails
from tests.processes import DEADLINE_SECONDS, RunningProcess, beat_process, worker_process
from tests.smtp import MailServerForTests, mail_server
from tests.worker.ledger_probes import log_of, until, until_ready

pytestmark = pytest.mark.xdist_group("mail")

OLIVIA, PETER, QUINN = "olivia@acme.example", "peter@acme.example", "quinn@acme.example"
ALL = (OLIVIA, PETER, QUINN)
MAIL: dict[str, Any] = {"job_type": "email.message", "queue": "email", "idempotent": True, "max_attempts": 3}


@pytest.fixture
def server() -> Iterator[MailServerForTests]:
    with mail_server() as running:
        yield running


@pytest.fixture
def sending(app: Dashboard, server: MailServerForTests) -> Tenant:
    settings = server.settings(MAIL_SENDER="Acme <jobs@acme.test>", TIMEZONE="Asia/Tokyo")
    return make_tenant(app, "acme", "https://jobs.acme.test", **settings)


@pytest.fixture(scope="module")
def beat(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[RunningProcess]:
    with beat_process(environment) as process:
        yield process


def test_a_scheduled_mail_leaves_a_real_worker_with_the_tenants_links(
    app: Dashboard, environment: dict[str, str], sending: Tenant, server: MailServerForTests, beat: RunningProcess
) -> None:
    params = mail_params(OLIVIA, subject="{{ schedule.name }}", body="{{ zone }} [runs](/runs)", link="/schedules")
    with worker_process(environment) as worker:
        (run_id,) = enqueue_runs(app, sending, **MAIL, params=params)
        run = until(app, run_id, "succeeded", beat, worker)
    assert run.result == {"recipients": 1, "sent": 1}
    assert (run.progress_done, run.progress_total) == (1, 1)
    (mail,) = server.mails
    assert mail.message["Subject"] == "Nightly report"
    assert "Asia/Tokyo runs <https://jobs.acme.test/runs>" in mail.part("plain")
    assert 'href="https://jobs.acme.test/schedules"' in mail.part("html")


def test_a_mail_tells_the_time_in_the_organisations_zone_and_not_in_that_of_who_started_it(
    app: Dashboard, environment: dict[str, str], sending: Tenant, server: MailServerForTests, beat: RunningProcess
) -> None:
    actor = Actor(kind="user", id=make_user(app, OLIVIA, roles={sending.id: "operator"}, timezone="Asia/Kolkata"))
    with worker_process(environment) as worker:
        (run_id,) = enqueue_runs(app, sending, **MAIL, params=mail_params(PETER, body="{{ zone }}"), actor=actor)
        until(app, run_id, "succeeded", beat, worker)
    assert "Asia/Tokyo" in server.mails[0].message.as_string()
    assert "Asia/Kolkata" not in server.mails[0].message.as_string()


def test_a_worker_killed_between_two_recipients_is_followed_by_one_that_mails_only_the_missing(
    app: Dashboard, environment: dict[str, str], sending: Tenant, server: MailServerForTests, beat: RunningProcess
) -> None:
    server.held = {PETER}
    (run_id,) = enqueue_runs(app, sending, **MAIL, params=mail_params(*ALL))
    with worker_process(environment, concurrency=1) as first:
        assert server.waiting.wait(DEADLINE_SECONDS), first.output()
        first.kill_group()
    assert states_of_mails(app, run_id) == {OLIVIA: "sent", PETER: "claimed", QUINN: "pending"}
    server.held = set()
    server.release()
    with worker_process(environment, concurrency=1) as second:
        run = until(app, run_id, "succeeded", beat, second)
    assert run.result == {"recipients": 3, "sent": 3}
    assert run.attempt == 2
    assert sorted(server.recipients()) == [*ALL]
    assert "1 mail(s) were about to leave when the worker ended; they go out now." in log_of(app, run_id)
    assert deliveries_of(app, run_id)[PETER].attempt == 2


def test_a_worker_killed_while_a_mail_leaves_makes_it_uncertain_and_nobody_gets_it_twice(
    app: Dashboard, environment: dict[str, str], sending: Tenant, server: MailServerForTests, beat: RunningProcess
) -> None:
    server.held, server.hold_at = {PETER}, "CONTENT"
    (run_id,) = enqueue_runs(app, sending, **MAIL, params=mail_params(*ALL))
    with worker_process(environment, concurrency=1) as first:
        assert server.waiting.wait(DEADLINE_SECONDS), first.output()
        first.kill_group()
    assert states_of_mails(app, run_id) == {OLIVIA: "sent", PETER: "handing", QUINN: "pending"}
    server.held = set()
    server.release()
    with worker_process(environment, concurrency=1) as second:
        run = until(app, run_id, "succeeded", beat, second)
    assert run.result == {"recipients": 3, "sent": 2, "uncertain": 1}
    assert sorted(server.recipients()) == [*ALL]


def test_a_mailing_that_is_cancelled_mails_nobody_more(
    app: Dashboard, environment: dict[str, str], sending: Tenant, server: MailServerForTests, beat: RunningProcess
) -> None:
    addresses = [f"{number}@acme.example" for number in range(50)]
    with worker_process(environment, concurrency=1) as worker:
        until_ready(app)
        server.held = {addresses[3]}
        (run_id,) = enqueue_runs(app, sending, **MAIL, params=mail_params(*addresses))
        assert server.waiting.wait(DEADLINE_SECONDS), worker.output()
        with acting(app, sending):
            actions.cancel(run_id)
        server.release()
        until(app, run_id, "cancelled", beat, worker)
    assert server.recipients() == addresses[:4]
    assert list(states_of_mails(app, run_id).values()) == ["sent"] * 4 + ["pending"] * 46
