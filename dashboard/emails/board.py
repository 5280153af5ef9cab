"""What a run's page shows of its mails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from dashboard.core.orm import db
from dashboard.emails.models import Delivery
from dashboard.emails.states import DELIVERY_STATES, SENT

MOST_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """A run's mails: how many are in each state, and the first ones, those that were not sent before the others."""

    counts: dict[str, int]
    rows: Sequence[Delivery]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def hidden(self) -> int:
        """How many are not among the rows."""
        return self.total - len(self.rows)


def of_run(run_id: UUID) -> Deliveries:
    """Return the mails of a run of the bound tenant, in two queries."""
    mine = Delivery.run_id == run_id
    counted = sa.select(Delivery.state, sa.func.count().label("number")).where(mine).group_by(Delivery.state)
    found = {row.state: row.number for row in db.session.execute(counted)}
    rows = db.session.scalars(
        sa.select(Delivery).where(mine).order_by(Delivery.state == SENT, Delivery.id).limit(MOST_SHOWN)
    ).all()
    return Deliveries(counts={state: found[state] for state in DELIVERY_STATES if state in found}, rows=rows)
