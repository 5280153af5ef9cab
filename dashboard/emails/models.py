"""The mailing ledger, one row per recipient, so that nobody is mailed twice or forgotten; and each tenant's pace."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.core.orm import Base, Created, Identified, TenantOwned, timestamp
from dashboard.emails.states import DELIVERY_STATES

_STATES = ", ".join(f"'{state}'" for state in DELIVERY_STATES)


class Delivery(Identified, Created, TenantOwned, Base):
    """One recipient's mail in a run. Its Message-ID comes from its id, so that it is stable over attempts."""

    __tablename__ = "delivery"
    __table_args__ = (
        sa.UniqueConstraint("run_id", "address"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_delivery_run", ondelete="CASCADE"
        ),
        sa.CheckConstraint(f"state IN ({_STATES})", name="state"),
        sa.Index("ix_delivery_run_id_state", "run_id", "state"),
        sa.Index("ix_delivery_tenant_id_id", "tenant_id", sa.text("id DESC")),
        sa.Index(
            "ix_delivery_uncertain", "tenant_id", sa.text("id DESC"), postgresql_where=sa.text("state = 'uncertain'")
        ),
        sa.Index("ix_delivery_handing", "lease_until", postgresql_where=sa.text("state = 'handing'")),
    )

    run_id: Mapped[UUID]
    address: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    lease_until: Mapped[datetime | None] = mapped_column(timestamp)
    attempt: Mapped[int] = mapped_column(server_default="0")
    not_before: Mapped[datetime | None] = mapped_column(timestamp)
    message_id: Mapped[str] = mapped_column(server_default="")
    reply_code: Mapped[int | None]
    error: Mapped[str] = mapped_column(server_default="")
    claimed_at: Mapped[datetime | None] = mapped_column(timestamp)
    handing_at: Mapped[datetime | None] = mapped_column(timestamp)
    sent_at: Mapped[datetime | None] = mapped_column(timestamp)


class MailPace(TenantOwned, Base):
    """When a tenant's next mail may leave, over all its runs and workers: the send rate's clock."""

    __tablename__ = "mail_pace"

    tenant_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    next_at: Mapped[datetime] = mapped_column(timestamp)
