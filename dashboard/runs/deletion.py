"""Delete a tenant with all that it has: its runs in small steps first, so that nobody waits for a long one."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.tenants import actions
from dashboard.tenants.models import TenantRecord

RUNS = 500
"""Runs deleted in one transaction, with all that belongs to them."""

_DELETE_RUNS = sa.text(
    "DELETE FROM run WHERE id = ANY(ARRAY(SELECT id FROM run WHERE tenant_id = :tenant_id LIMIT :runs)) RETURNING id"
)


def delete_tenant(tenant_id: UUID) -> int:
    """Delete a tenant; return how many runs it had. In transactions of its own; called again, it goes on.

    It is suspended first, so that nothing of it starts and its people are signed out. A worker that executes a run of
    it finds the lease lost. Its audit entries stay, without names, addresses and details. People's accounts stay: they
    are the platform's. Raises Refused if there is no such tenant.
    """
    with system_scope("delete tenant") as session:
        tenant = session.get(TenantRecord, tenant_id)
        if tenant is None or tenant.is_active:
            actions.suspend(session, tenant_id, "It is being deleted.")
    total = 0
    while deleted := _delete_runs(tenant_id):
        total += deleted
    with system_scope("delete tenant") as session:
        _delete_rest(session, session.get_one(TenantRecord, tenant_id))
    return total


def _delete_runs(tenant_id: UUID) -> int:
    with system_scope("delete tenant") as session:
        return len(session.scalars(_DELETE_RUNS, {"tenant_id": tenant_id, "runs": RUNS}).all())


def _delete_rest(session: Session, tenant: TenantRecord) -> None:
    """Delete the tenant's row, and with it every row that refers to it; then blank what the audit trail says of it."""
    record(session, "tenant.delete", subject=("tenant", tenant.id, tenant.slug), of_platform=True)
    actions.forget_after_commit(session)
    session.flush()
    session.execute(sa.delete(TenantRecord).where(TenantRecord.id == tenant.id))
    blank = {"actor_name": "", "subject_name": "", "address": "", "details": {}}
    session.execute(sa.update(AuditEntry).where(AuditEntry.tenant_id == tenant.id).values(blank))
