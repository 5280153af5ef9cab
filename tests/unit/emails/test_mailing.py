"""Mail goes through the tenant's own server, once to each recipient, and every fault of the server has an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories import make_tenant
from tests.factories.mailings import make_mail_run, perform, states_of_mails
from tests.smtp import MailServerForTests, mail_server

OLIVIA, PETER, QUINN = "olivia@acme.example", "peter@acme.example", "quinn@acme.example"


@pytest.fixture
def server() -> Iterator[MailServerForTests]:
    with mail_server() as running:
        yield running


@pytest.fixture
def sending(app: Dashboard, server: MailServerForTests) -> Tenant:
    """A tenant whose mail goes out through `server`."""
    return make_tenant(
        app, "acme", "https://jobs.acme.test", **server.settings(MAIL_SENDER="Acme Reports <jobs@acme.test>")
    )


def test_each_recipient_gets_the_mail_on_its_own(app: Dashboard, sending: Tenant, server: MailServerForTests) -> None:
    run = make_mail_run(app, sending, OLIVIA, PETER, QUINN)
    assert perform(app, sending, run) == {"recipients": 3, "sent": 3}
    assert server.recipients() == [OLIVIA, PETER, QUINN]
    assert server.connections == 2  # one is aiosmtpd's own, to see whether it listens
    assert states_of_mails(app, run.id) == dict.fromkeys((OLIVIA, PETER, QUINN), "sent")
