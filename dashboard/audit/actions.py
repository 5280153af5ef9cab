"""Write the audit line of what was just done, in the same transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import has_request_context, request
from sqlalchemy.orm import Session

from dashboard.audit.models import AuditEntry
from dashboard.core.tenancy import SYSTEM, Actor, current_binding


def record(
    session: Session,
    action: str,
    *,
    subject: tuple[str, UUID | None, str],
    tenant_id: UUID | None = None,
    actor: Actor | None = None,
    actor_name: str = "",
    details: dict[str, Any] | None = None,
) -> None:
    """Add an audit row to `session`: `action` like `schedule.pause`, `subject` as (kind, id, name).

    Tenant, actor and request come from what is bound unless they are given. `details` must hold no secret.
    """
    binding = current_binding()
    actor = actor or (binding.actor if binding else SYSTEM)
    session.add(
        AuditEntry(
            tenant_id=tenant_id or (binding.tenant.id if binding else None),
            actor_kind=actor.kind,
            actor_id=actor.id,
            actor_name=actor_name,
            action=action,
            subject_kind=subject[0],
            subject_id=subject[1],
            subject_name=subject[2],
            details=details or {},
            request_id=binding.request_id if binding else None,
            address=(request.remote_addr or "") if has_request_context() else "",
        )
    )
