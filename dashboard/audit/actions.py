"""Write the audit line of what was just done, in the same transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import g, has_request_context, request
from sqlalchemy.orm import Session

from dashboard.audit.models import AuditEntry
from dashboard.core.tenancy import SYSTEM, Actor, current_binding


def name_actor(actor: Actor, name: str) -> None:
    """Say who acts in the rest of this request: sign-in knows it, and what is recorded deeper down need not."""
    g.audited_actor = (actor, name)


def record(
    session: Session,
    action: str,
    *,
    subject: tuple[str, UUID | None, str],
    tenant_id: UUID | None = None,
    of_platform: bool = False,
    actor: Actor | None = None,
    actor_name: str = "",
    details: dict[str, Any] | None = None,
) -> None:
    """Add an audit row to `session`: `action` like `schedule.pause`, `subject` as (kind, id, name).

    Tenant, actor and request come from what is bound unless they are given. `of_platform`: the row is no tenant's,
    whichever is bound (a person's own password). `details` must hold no secret.
    """
    binding = current_binding()
    named, name = g.get("audited_actor", (None, ""))
    actor = actor or named or (binding.actor if binding else SYSTEM)
    bound_tenant_id = binding.tenant.id if binding else None
    session.add(
        AuditEntry(
            tenant_id=None if of_platform else tenant_id or bound_tenant_id,
            actor_kind=actor.kind,
            actor_id=actor.id,
            actor_name=actor_name or (name if actor == named else ""),
            action=action,
            subject_kind=subject[0],
            subject_id=subject[1],
            subject_name=subject[2],
            details=details or {},
            request_id=binding.request_id if binding else None,
            address=(request.remote_addr or "") if has_request_context() else "",
        )
    )
