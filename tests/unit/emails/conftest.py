"""Gives the mail tests a mail server, and a tenant that sends through it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories import make_tenant
from tests.smtp import MailServerForTests, mail_server

SENDER = "Acme Reports <jobs@acme.test>"


@pytest.fixture
def server() -> Iterator[MailServerForTests]:
    with mail_server() as running:
        yield running


@pytest.fixture
def sending(app: Dashboard, server: MailServerForTests) -> Tenant:
    """A tenant whose mail goes out through `server`."""
    return make_tenant(app, "acme", "https://jobs.acme.test", **server.settings(MAIL_SENDER=SENDER))
