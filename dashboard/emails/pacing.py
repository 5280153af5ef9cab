"""Keep a tenant's mails to its send rate, over all its runs and workers."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from dashboard.core.orm import tenant_session


def next_turn(mails_a_minute: int) -> timedelta:
    """Take the bound tenant's next turn to send a mail, and return how long to wait for it."""
    with tenant_session() as session:
        wait: timedelta = session.execute(_TAKE, {"apart": timedelta(minutes=1) / mails_a_minute}).scalar_one()
    return max(wait, timedelta())


_TAKE = sa.text("""
INSERT INTO mail_pace (tenant_id, next_at) VALUES (app_tenant(), clock_timestamp() + :apart)
ON CONFLICT (tenant_id) DO UPDATE SET next_at = greatest(mail_pace.next_at, clock_timestamp()) + :apart
RETURNING next_at - :apart - clock_timestamp()
""")
