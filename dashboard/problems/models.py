"""Which failures somebody has seen and put aside."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.core.orm import Base, TenantOwned, timestamp


class Dismissal(TenantOwned, Base):
    """Failures with this fingerprint need nobody, until one ends after `at`."""

    __tablename__ = "dismissal"

    tenant_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())
    by_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("user_account.id", ondelete="SET NULL"))
