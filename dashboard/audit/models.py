"""The audit trail: one row per thing that somebody did, never changed afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.core.orm import Base, Identified, timestamp

NOBODY = {"user": "Somebody", "schedule": "Schedule", "system": "System"}
"""Who acted, where the entry holds no name."""


class AuditEntry(Identified, Base):
    """Who did what to which thing. `tenant_id` is None for the platform; the row outlives what it names."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        sa.Index("ix_audit_entry_tenant_id_id", "tenant_id", sa.text("id DESC")),
        sa.CheckConstraint("actor_kind IN ('user', 'schedule', 'system')", name="actor_kind"),
    )

    tenant_id: Mapped[UUID | None]
    at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str] = mapped_column(server_default="")
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID | None]
    subject_name: Mapped[str] = mapped_column(server_default="")
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sa.text("'{}'"))
    request_id: Mapped[UUID | None]
    address: Mapped[str] = mapped_column(server_default="")

    @property
    def who(self) -> str:
        """What the actor was called then."""
        return self.actor_name or NOBODY[self.actor_kind]
