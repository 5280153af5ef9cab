"""Say whether the station itself works: does the scheduler keep time, and is there anybody to do the work."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import sqlalchemy as sa
from flask import current_app

from config.settings import Settings
from dashboard.core.formats import duration
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.schedules.models import ENABLED
from dashboard.schedules.watchdog import PATIENCE

DRIFT_SHOWN_FOR = timedelta(days=1)
ADVICE = "Tell whoever runs Stationmaster: flask doctor says what to do."


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something about the station that no operator's job explains; `urgent` ones stand above every page."""

    key: str
    title: str
    advice: str
    urgent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What the database knows of the station, and of the bound tenant's place in it."""

    now: datetime
    has_beat: bool
    has_worker: bool
    late_since: datetime | None
    drifted_at: datetime | None


def alerts() -> list[Alert]:
    """Return what is wrong with the station for the bound tenant, in one cheap query; nothing, as a rule."""
    vitals = _vitals()
    late = vitals.now - vitals.late_since if vitals.late_since else timedelta()
    found = [
        (not vitals.has_beat, NO_BEAT),
        (not vitals.has_worker, NO_WORKER),
        (vitals.has_beat and late > PATIENCE, _late(late)),
        (vitals.drifted_at is not None and vitals.now - vitals.drifted_at < DRIFT_SHOWN_FOR, DRIFTED),
    ]
    return [alert for is_so, alert in found if is_so]


def urgent_alerts() -> list[Alert]:
    """Return what everybody should read, whichever page they are on."""
    return [alert for alert in alerts() if alert.urgent]


def tag_of(found: Iterable[Alert]) -> str:
    """Return what changes when the alerts do, for the version of a live panel."""
    return f"{zlib.crc32(' '.join(alert.key for alert in found).encode()):x}"


NO_BEAT = Alert(
    key="no_beat",
    title="The scheduler is not running: no schedule fires, and nothing that waits is started.",
    advice=f"Nothing is lost: it goes on where it was when the scheduler is back. {ADVICE}",
)
NO_WORKER = Alert(
    key="no_worker",
    title="No worker is running: what is due waits.",
    advice=f"Nothing is lost: it starts when a worker is back. {ADVICE}",
)
DRIFTED = Alert(
    key="drifted",
    title="The counters of waiting and running work were wrong in the last day, and have been set right.",
    advice="No run was touched. If it happens again, it is a fault in Stationmaster worth reporting.",
    urgent=False,
)


def _late(late: timedelta) -> Alert:
    return Alert(
        key="late",
        title=f"The scheduler is late: a schedule should have fired {duration(late)} ago.",
        advice=f"It makes up for what it missed, as each schedule says. {ADVICE}",
    )


def _vitals() -> Vitals:
    settings = cast(Settings, current_app.extensions["settings"])
    row = db.session.execute(_VITALS, {"tenant": current_tenant().id, "lease": settings.lease}).mappings().one()
    return Vitals(**row)


_VITALS = sa.text(f"""
WITH living AS (
    SELECT DISTINCT kind FROM process WHERE stopped_at IS NULL AND seen_at > now() - CAST(:lease AS interval))
SELECT now() AS now,
    EXISTS (SELECT FROM living WHERE kind = 'beat') AS has_beat,
    EXISTS (SELECT FROM living WHERE kind = 'worker') AS has_worker,
    (SELECT next_at FROM schedule WHERE tenant_id = :tenant AND {ENABLED} AND next_at < now()
     ORDER BY next_at LIMIT 1) AS late_since,
    (SELECT drifted_at FROM tenant_load WHERE tenant_id = :tenant) AS drifted_at
""")
