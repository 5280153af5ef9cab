"""Mail goes out once to each recipient, whatever the mail server does and whenever a worker ends."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.emails import delivery
from dashboard.emails.delivery import Holder
from dashboard.emails.failures import MailServerAway, MailServerBusy, NobodyReached, SenderRefused, SignInNeeded
from dashboard.emails.models import Delivery
from dashboard.emails.pacing import next_turn
from dashboard.emails.smtp import Verdict
from dashboard.jobs.outcomes import RetryLater, RunStopped
from dashboard.runs.models import Run
from tests.factories.mailings import Said, acting, deliveries_of, make_mail_run, perform, states_of_mails
from tests.processes import DEADLINE_SECONDS, wait_until
from tests.smtp import Break, MailServerForTests, Step
from worker.scheduler import RECONCILE_SECONDS, Reaper

OLIVIA, PETER, QUINN = "olivia@acme.example", "peter@acme.example", "quinn@acme.example"
ALL = (OLIVIA, PETER, QUINN)
LEASE = timedelta(seconds=4)


def set_columns(app: Dashboard, model: Any, where: sa.ColumnElement[bool], **values: Any) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(model).where(where).values(**values))


def next_attempt(app: Dashboard, run: Run) -> Run:
    """The run as a later worker holds it."""
    run.fence += 1
    run.attempt += 1
    set_columns(app, Run, Run.id == run.id, fence=run.fence, attempt=run.attempt)
    return run


def test_each_recipient_gets_the_mail_on_its_own_over_one_connection(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    before = server.connections
    run, said = make_mail_run(app, sending, *ALL), Said()
    assert perform(app, sending, run, said) == {"recipients": 3, "sent": 3}
    assert server.recipients() == [*ALL]
    assert {mail.sender for mail in server.mails} == {"jobs@acme.test"}
    assert server.connections == before + 1
    assert states_of_mails(app, run.id) == dict.fromkeys(ALL, "sent")
    assert said.progress_made == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_second_attempt_sends_nothing_again(app: Dashboard, sending: Tenant, server: MailServerForTests) -> None:
    run = make_mail_run(app, sending, *ALL)
    perform(app, sending, run)
    assert perform(app, sending, next_attempt(app, run)) == {"recipients": 3, "sent": 3}
    assert server.recipients() == [*ALL]


@pytest.mark.parametrize("step", ["RCPT", "DATA", "CONTENT"])
def test_a_refused_recipient_bounces_and_the_others_get_their_mail(
    app: Dashboard, sending: Tenant, server: MailServerForTests, step: Step
) -> None:
    server.answers[step, PETER] = "550 5.1.1 <b>canary</b> no such user"
    run, said = make_mail_run(app, sending, *ALL), Said()
    assert perform(app, sending, run, said) == {"recipients": 3, "sent": 2, "bounced": 1}
    assert server.recipients() == [OLIVIA, QUINN]
    bounced = deliveries_of(app, run.id)[PETER]
    assert (bounced.state, bounced.reply_code) == ("bounced", 550)
    assert bounced.error == "The mail server refused it: there is no such address (550)."
    assert said.lines == [f"warning: {PETER}: {bounced.error}"]


@pytest.mark.parametrize("step", ["RCPT", "DATA", "CONTENT"])
def test_a_recipient_that_was_put_off_is_sent_by_the_next_attempt_alone(
    app: Dashboard, sending: Tenant, server: MailServerForTests, step: Step
) -> None:
    server.answers[step, PETER] = "451 4.7.1 greylisted"
    run = make_mail_run(app, sending, *ALL)
    with pytest.raises(RetryLater, match=r"put off 1 mail\(s\)"):
        perform(app, sending, run)
    assert states_of_mails(app, run.id)[PETER] == "deferred"
    del server.answers[step, PETER]
    assert perform(app, sending, next_attempt(app, run)) == {"recipients": 3, "sent": 3}
    assert server.recipients() == [OLIVIA, QUINN, PETER]


def test_a_run_of_which_nobody_was_reached_fails_with_the_reason(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    server.answers = {("RCPT", address): "554 5.7.1 relaying denied" for address in ALL}
    with pytest.raises(NobodyReached, match=r"refused every recipient\. .*: we may not send to this address \(554\)"):
        perform(app, sending, make_mail_run(app, sending, *ALL))


@pytest.mark.parametrize(
    ("answer", "error"),
    [("550 not yours", SenderRefused), ("451 slow down", MailServerBusy), ("530 sign in first", SignInNeeded)],
)
def test_a_refused_sender_stops_the_attempt_and_leaves_every_mail_waiting(
    app: Dashboard, sending: Tenant, server: MailServerForTests, answer: str, error: type[Exception]
) -> None:
    server.answers["MAIL", ""] = answer
    run = make_mail_run(app, sending, *ALL)
    with pytest.raises(error) as caught:
        perform(app, sending, run)
    assert str(caught.value) == error.__doc__
    assert states_of_mails(app, run.id) == dict.fromkeys(ALL, "pending")


@pytest.mark.parametrize("step", ["RCPT", "DATA"])
def test_a_connection_that_breaks_before_the_content_is_opened_once_more(
    app: Dashboard, sending: Tenant, server: MailServerForTests, step: Break
) -> None:
    server.breaks, server.breaks_left = {PETER: step}, 1
    assert perform(app, sending, make_mail_run(app, sending, *ALL)) == {"recipients": 3, "sent": 3}
    assert server.recipients() == [*ALL]


@pytest.mark.parametrize("step", ["RCPT", "DATA"])
def test_a_server_that_keeps_breaking_off_before_the_content_loses_no_mail(
    app: Dashboard, sending: Tenant, server: MailServerForTests, step: Break
) -> None:
    server.breaks = {PETER: step}
    run = make_mail_run(app, sending, *ALL)
    with pytest.raises(MailServerAway):
        perform(app, sending, run)
    assert states_of_mails(app, run.id) == {OLIVIA: "sent", PETER: "pending", QUINN: "pending"}
    server.breaks = {}
    assert perform(app, sending, next_attempt(app, run)) == {"recipients": 3, "sent": 3}
    assert server.recipients() == [*ALL]


@pytest.mark.parametrize("step", ["AFTER_354", "AFTER_CONTENT"])
def test_a_connection_that_breaks_after_the_content_left_makes_the_mail_uncertain_and_it_is_never_resent(
    app: Dashboard, sending: Tenant, server: MailServerForTests, step: Break
) -> None:
    server.breaks = {PETER: step}
    run = make_mail_run(app, sending, *ALL)
    assert perform(app, sending, run) == {"recipients": 3, "sent": 2, "uncertain": 1}
    server.breaks = {}
    assert perform(app, sending, next_attempt(app, run)) == {"recipients": 3, "sent": 2, "uncertain": 1}
    assert server.recipients().count(PETER) == (1 if step == "AFTER_CONTENT" else 0)


def test_a_server_that_breaks_off_every_handover_is_left_alone_after_three(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    addresses = [f"{number}@acme.example" for number in range(6)]
    server.breaks = dict.fromkeys(addresses, "AFTER_354")
    run = make_mail_run(app, sending, *addresses)
    with pytest.raises(MailServerAway):
        perform(app, sending, run)
    assert list(states_of_mails(app, run.id).values()) == ["uncertain"] * 3 + ["pending"] * 3


def test_what_a_dead_worker_left_is_sent_if_nothing_of_it_left_and_uncertain_if_it_was_leaving(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    run = make_mail_run(app, sending, *ALL)
    with acting(app, sending):
        delivery.freeze_audience(run.id, ALL, domain="jobs.acme.test")
    set_columns(app, Delivery, Delivery.address == OLIVIA, state="claimed", attempt=1)
    set_columns(app, Delivery, Delivery.address == PETER, state="handing", attempt=1)
    said = Said()
    assert perform(app, sending, next_attempt(app, run), said) == {"recipients": 3, "sent": 2, "uncertain": 1}
    assert server.recipients() == [OLIVIA, QUINN]
    assert states_of_mails(app, run.id)[PETER] == "uncertain"
    assert said.lines == [
        "info: 1 mail(s) were about to leave when the worker ended; they go out now.",
        "warning: 1 mail(s) may have left when the worker ended; they are not sent again.",
    ]


def look_once_a_minute(app: Dashboard) -> None:
    """Do what beat's reaper does once a minute."""
    reaper = Reaper(app.extensions["settings"])
    reaper._reconciled_at -= RECONCILE_SECONDS
    with app.app_context():
        reaper.step()


@pytest.mark.parametrize("state", ["dead", "cancelled", "timed_out"])
def test_a_mail_that_was_leaving_when_its_runs_last_attempt_ended_is_uncertain(
    app: Dashboard, sending: Tenant, state: str
) -> None:
    run = make_mail_run(app, sending, *ALL)
    with acting(app, sending):
        delivery.freeze_audience(run.id, ALL, domain="jobs.acme.test")
    minute_ago = sa.func.now() - timedelta(minutes=1)
    set_columns(app, Delivery, Delivery.address == OLIVIA, state="handing", attempt=1, lease_until=minute_ago)
    set_columns(app, Delivery, Delivery.address == PETER, state="claimed", attempt=1, lease_until=minute_ago)
    look_once_a_minute(app)
    assert states_of_mails(app, run.id)[OLIVIA] == "handing"  # its run goes on
    set_columns(app, Run, Run.id == run.id, state=state)
    look_once_a_minute(app)
    assert states_of_mails(app, run.id) == {OLIVIA: "uncertain", PETER: "claimed", QUINN: "pending"}


def test_a_worker_that_was_only_slow_sends_nothing_that_another_took_over(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    server.held = {OLIVIA}
    run = make_mail_run(app, sending, OLIVIA)
    raised: list[Exception] = []

    def slow_worker() -> None:
        try:
            perform(app, sending, run)
        except RunStopped as error:
            raised.append(error)

    thread = Thread(target=slow_worker)
    thread.start()
    assert server.waiting.wait(DEADLINE_SECONDS)
    set_columns(app, Delivery, Delivery.run_id == run.id, attempt=2)
    server.release()
    thread.join(DEADLINE_SECONDS)
    assert [type(error) for error in raised] == [RunStopped]
    assert server.mails == []


def test_nothing_is_claimed_for_a_cancelled_run_or_by_an_earlier_holder(app: Dashboard, sending: Tenant) -> None:
    run = make_mail_run(app, sending, *ALL)
    mine, earlier = (Holder(run_id=run.id, fence=fence, lease=LEASE) for fence in (run.fence, run.fence - 1))
    with acting(app, sending):
        delivery.freeze_audience(run.id, ALL, domain="jobs.acme.test")
        began = delivery.recover(mine).began
        assert delivery.claim(earlier, began=began) is None
        assert delivery.claim(mine, began=began) is not None
        set_columns(app, Run, Run.id == run.id, cancel_requested_at=sa.func.now())
        assert delivery.claim(mine, began=began) is None


def test_a_slow_worker_may_still_say_that_an_uncertain_mail_was_sent(app: Dashboard, sending: Tenant) -> None:
    run = make_mail_run(app, sending, OLIVIA)
    holder = Holder(run_id=run.id, fence=run.fence, lease=LEASE)
    with acting(app, sending):
        delivery.freeze_audience(run.id, [OLIVIA], domain="jobs.acme.test")
        claim = delivery.claim(holder, began=delivery.recover(holder).began)
        assert claim is not None
        assert delivery.hand_over(claim)
        delivery.recover(holder)
        delivery.settle(claim, Verdict("sent", 250, ""))
    assert states_of_mails(app, run.id) == {OLIVIA: "sent"}


def test_a_cancelled_run_stops_between_two_recipients(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    run = make_mail_run(app, sending, *ALL)
    with pytest.raises(RunStopped):
        perform(app, sending, run, Said(stop_after=1))
    assert server.recipients() == [OLIVIA]
    assert states_of_mails(app, run.id) == {OLIVIA: "sent", PETER: "pending", QUINN: "pending"}


def test_the_audience_is_frozen_at_the_first_attempt(app: Dashboard, sending: Tenant) -> None:
    run = make_mail_run(app, sending)
    many = [f"{number}@acme.example" for number in range(10_000)]
    with acting(app, sending):
        delivery.freeze_audience(run.id, many, domain="jobs.acme.test")
        delivery.freeze_audience(run.id, many[:5], domain="jobs.acme.test")
    rows = deliveries_of(app, run.id)
    assert list(rows) == many
    assert rows[many[0]].message_id == f"<{rows[many[0]].id.hex}@jobs.acme.test>"


def test_another_tenants_mails_are_neither_seen_nor_sent(app: Dashboard, sending: Tenant, globex: Tenant) -> None:
    run = make_mail_run(app, sending, OLIVIA)
    with acting(app, sending):
        delivery.freeze_audience(run.id, [OLIVIA], domain="jobs.acme.test")
    holder = Holder(run_id=run.id, fence=run.fence, lease=LEASE)
    with acting(app, globex):
        assert sum(delivery.counts(run.id).values()) == 0
        assert delivery.claim(holder, began=delivery.recover(holder).began) is None


def test_mails_of_a_tenant_keep_their_distance_over_all_its_runs(
    app: Dashboard, sending: Tenant, globex: Tenant
) -> None:
    with acting(app, sending):
        waits = [next_turn(1) for _ in range(4)]
    assert waits[0] == timedelta()
    assert [round(wait / timedelta(minutes=1)) for wait in waits[1:]] == [1, 2, 3]
    with acting(app, globex):
        assert next_turn(1) == timedelta()


def test_a_mail_waits_for_its_turn_until_the_run_is_stopped(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    run, said = make_mail_run(app, sending, *ALL), Said()
    with acting(app, sending):
        next_turn(1)
    stopped: list[Exception] = []

    def work() -> None:
        try:
            perform(app, sending, run, said)
        except RunStopped as error:
            stopped.append(error)

    thread = Thread(target=work)
    thread.start()
    wait_until(lambda: said.progress_made)
    said.stop_after = 0
    thread.join(DEADLINE_SECONDS)
    assert len(stopped) == 1
    assert server.mails == []
