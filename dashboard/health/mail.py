"""Greet the mail server of each tenant, as a mail would, without sending one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import sqlalchemy as sa
from flask import current_app

from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, Tenant, bound, resolver_of
from dashboard.emails.failures import MailError
from dashboard.emails.message import mail_server
from dashboard.emails.smtp import Conversation
from dashboard.health.checks import Finding, settings_here
from dashboard.tenants.models import TenantRecord


def mail_servers() -> Iterator[Finding]:
    """Find out, for each active tenant, whether its mail server takes us in."""
    with system_scope("doctor") as session:
        ids = session.scalars(
            sa.select(TenantRecord.id).where(TenantRecord.suspended_at.is_(None)).order_by(TenantRecord.slug)
        ).all()
    for tenant in filter(None, map(resolver_of(current_app).by_id, ids)):
        with bound(Binding.of(tenant)):
            yield _greeted(tenant)


def _greeted(tenant: Tenant) -> Finding:
    config = current_app.config
    try:
        with closing(Conversation(mail_server(tenant, config, settings_here()))) as conversation:
            conversation.greet()
            conversation.quit()
    except MailError as error:
        return Finding(
            part="mail",
            status="fail",
            sentence=f"{tenant.slug}: {error}",
            advice=f"See its mail settings: flask tenants show {tenant.slug}",
        )
    return Finding(part="mail", status="ok", sentence=f"{tenant.slug}: {config['SMTP_HOST']} takes us in.")
