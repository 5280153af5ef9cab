"""An operator settles mails of which nobody knows whether they arrived: sends them again, or marks them sent."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.emails import delivery
from dashboard.emails.models import Delivery
from dashboard.runs.models import Run
from tests.factories import make_tenant, make_user
from tests.factories.ledger import load_of, run_of, timeline_of
from tests.factories.mailings import acting, deliveries_of, make_mail_run, perform, states_of_mails
from tests.pages import read_page
from tests.signing_in import Browser, sign_in
from tests.smtp import MailServerForTests, mail_server

OLIVIA, PETER = "olivia@acme.example", "peter@acme.example"


@pytest.fixture
def server() -> Iterator[MailServerForTests]:
    with mail_server() as running:
        yield running


@pytest.fixture
def sending(app: Dashboard, server: MailServerForTests) -> Tenant:
    settings = server.settings(MAIL_SENDER="Acme <jobs@acme.test>")
    return make_tenant(app, "acme", "https://jobs.acme.test", **settings)


@pytest.fixture
def operator(app: Dashboard, sending: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={sending.id: "operator"})
    return sign_in(app, sending, "olivia@acme.test")


def uncertain_run(app: Dashboard, tenant: Tenant, state: str = "succeeded", mail_state: str = "uncertain") -> Run:
    """Return a run of two mails: Olivia's was sent, and nobody knows of Peter's."""
    run = make_mail_run(app, tenant, OLIVIA, PETER)
    with acting(app, tenant):
        delivery.freeze_audience(run.id, [OLIVIA, PETER], domain="jobs.acme.test")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Delivery).where(Delivery.address == OLIVIA).values(state="sent", attempt=1))
        session.execute(sa.update(Delivery).where(Delivery.address == PETER).values(state=mail_state, attempt=1))
        session.execute(sa.update(Run).where(Run.id == run.id).values(state=state, finished_at=sa.func.now()))
    return run_of(app, run.id)


def of_peter(app: Dashboard, run: Run) -> UUID:
    return deliveries_of(app, run.id)[PETER].id


def hold_again(app: Dashboard, run: Run) -> Run:
    """Return the run as a worker holds it once more."""
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Run).where(Run.id == run.id).values(state="running", fence=Run.fence + 1, attempt=1))
    return run_of(app, run.id)


def audited(app: Dashboard) -> list[str]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(AuditEntry.action).where(AuditEntry.subject_kind == "run")))


def test_a_run_that_succeeded_sends_the_uncertain_mail_again_and_no_other(
    app: Dashboard, sending: Tenant, operator: Browser, server: MailServerForTests
) -> None:
    run = uncertain_run(app, sending)
    answer = operator.post(f"/deliveries/{of_peter(app, run)}/resends", follow_redirects=True)
    assert "It goes out again when its run does." in answer.text
    assert states_of_mails(app, run.id) == {OLIVIA: "sent", PETER: "pending"}
    assert run_of(app, run.id).state == timeline_of(app, run.id)[-1] == "ready"
    assert load_of(app, sending).ready == 1
    assert perform(app, sending, hold_again(app, run)) == {"recipients": 2, "sent": 2}
    assert server.recipients() == [PETER]
    assert server.mails[0].message["Message-ID"] == deliveries_of(app, run.id)[PETER].message_id
    assert audited(app) == ["delivery.resend"]


@pytest.mark.parametrize("state", ["failed", "dead", "timed_out", "interrupted"])
def test_a_run_that_failed_sends_it_when_somebody_runs_it_again(
    app: Dashboard, sending: Tenant, operator: Browser, state: str
) -> None:
    run = uncertain_run(app, sending, state)
    operator.post(f"/deliveries/{of_peter(app, run)}/resends")
    assert states_of_mails(app, run.id)[PETER] == "pending"
    assert run_of(app, run.id).state == state


@pytest.mark.parametrize(
    ("state", "said"), [("running", "Wait until it has ended."), ("cancelled", "Start a new one for this address.")]
)
def test_it_is_not_sent_again_where_that_would_mail_others_too(
    app: Dashboard, sending: Tenant, operator: Browser, state: str, said: str
) -> None:
    run = uncertain_run(app, sending, state)
    assert said in operator.post(f"/deliveries/{of_peter(app, run)}/resends", follow_redirects=True).text
    assert states_of_mails(app, run.id)[PETER] == "uncertain"
    assert audited(app) == []


def test_a_mail_that_somebody_found_is_marked_sent(app: Dashboard, sending: Tenant, operator: Browser) -> None:
    run = uncertain_run(app, sending)
    operator.post(f"/deliveries/{of_peter(app, run)}/confirmations")
    found = deliveries_of(app, run.id)[PETER]
    assert (found.state, found.error) == ("sent", "A person found that it arrived.")
    assert found.sent_at is not None
    assert run_of(app, run.id).state == "succeeded"
    assert audited(app) == ["delivery.mark_sent"]


@pytest.mark.parametrize("act", ["resends", "confirmations"])
@pytest.mark.parametrize("mail_state", ["sent", "pending", "handing", "bounced"])
def test_only_an_uncertain_mail_is_settled(
    app: Dashboard, sending: Tenant, operator: Browser, act: str, mail_state: str
) -> None:
    run = uncertain_run(app, sending, mail_state=mail_state)
    answer = operator.post(f"/deliveries/{of_peter(app, run)}/{act}", follow_redirects=True)
    assert "This mail is settled already." in answer.text
    assert states_of_mails(app, run.id)[PETER] == mail_state


def test_the_runs_page_has_the_buttons_for_uncertain_mails_only(
    app: Dashboard, sending: Tenant, operator: Browser
) -> None:
    run = uncertain_run(app, sending)
    actions = [form.get("action") or "" for form in read_page(operator.get(f"/runs/{run.id}")).forms]
    mine = [action for action in actions if "/deliveries/" in action]
    assert mine == [f"/deliveries/{of_peter(app, run)}/{act}" for act in ("resends", "confirmations")]


def test_a_viewer_has_no_buttons_and_may_not(app: Dashboard, sending: Tenant) -> None:
    make_user(app, "victor@acme.test", roles={sending.id: "viewer"})
    viewer = sign_in(app, sending, "victor@acme.test")
    run = uncertain_run(app, sending)
    assert "/deliveries/" not in viewer.get(f"/runs/{run.id}").text
    for act in ("resends", "confirmations"):
        assert viewer.post(f"/deliveries/{of_peter(app, run)}/{act}").status_code == 403
    assert states_of_mails(app, run.id)[PETER] == "uncertain"
