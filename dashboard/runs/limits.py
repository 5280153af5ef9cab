"""What a tenant may start: the limits that platform owners set, what is used of them, and the pause of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session

from config.settings import Settings
from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.core.typed import whole_number
from dashboard.runs.dispatcher import DAY, buckets_of
from dashboard.runs.fairness import Bucket, most_of, share_of
from dashboard.runs.load import RUNS, notify
from dashboard.runs.models import DispatchClock, Process, TenantLoad
from dashboard.tenants.actions import forget_after_commit
from dashboard.tenants.models import TenantRecord

MOST_REASON = 200
"""Characters of the reason for a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit: `key` is its column; without a number, what `unset` says holds."""

    key: str
    label: str
    help: str
    unset: str
    most: int

    def parse(self, typed: str) -> int | None:
        """Return the number, None for nothing. Raises InvalidInput with a sentence for the field."""
        if not typed.strip():
            return None
        number = whole_number(typed.strip().replace(",", ""))
        if number is None or not 1 <= number <= self.most:
            raise InvalidInput({self.key: f"Give a whole number from 1 to {self.most:,}, or nothing."})
        return number


LIMITS = (
    Limit(
        key="max_running",
        label="Runs at once",
        help="Empty: half of all slots. One slot is always left to others.",
        unset="half of all slots",
        most=10_000,
    ),
    Limit(
        key="rate_per_minute",
        label="Starts a minute",
        help="As many can start at once; then they come back evenly. Empty: any number.",
        unset="any number",
        most=100_000,
    ),
    Limit(
        key="runs_per_day",
        label="Starts a day",
        help="As many can start at once; then they come back evenly. Empty: any number.",
        unset="any number",
        most=10_000_000,
    ),
    Limit(
        key="max_schedules",
        label="Schedules",
        help="Those that are not archived. Empty: any number.",
        unset="any number",
        most=1_000_000,
    ),
    Limit(
        key="least_period_seconds",
        label="Seconds between two fires",
        help="At least so many, of each schedule. Empty: what every schedule has to keep.",
        unset="what every schedule has to keep",
        most=86_400,
    ),
)
KEYS = frozenset({"weight", *(limit.key for limit in LIMITS)})
LIGHTEST, HEAVIEST = 0.01, 100.0


def limits_of(session: Session, tenant_id: UUID) -> dict[str, float | int | None]:
    """Return the tenant's weight and limits by their keys, None where there is no limit."""
    load = session.get_one(TenantLoad, tenant_id)
    return {"weight": load.weight, **{limit.key: getattr(load, limit.key) for limit in LIMITS}}


def set_limits(session: Session, tenant_id: UUID, typed: Mapping[str, str]) -> None:
    """Give the tenant the weight and the limits that are in `typed`; an empty text takes a limit away.

    Needs a system session. Raises InvalidInput naming every field that will not do.
    """
    wanted = _parsed(typed)
    load = _held(session, tenant_id)
    changed = {key: (getattr(load, key), value) for key, value in wanted.items() if getattr(load, key) != value}
    if not changed:
        return
    for key, (_, value) in changed.items():
        setattr(load, key, value)
    tenant = session.get_one(TenantRecord, tenant_id)
    details = {key: {"before": before, "after": after} for key, (before, after) in changed.items()}
    record(session, "tenant.limits", subject=("tenant", tenant.id, tenant.name), tenant_id=tenant_id, details=details)
    _go_on(session, load)


def _parsed(typed: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for key, parse in {"weight": _weight, **{limit.key: limit.parse for limit in LIMITS}}.items():
        if key in typed:
            try:
                values[key] = parse(typed[key])
            except InvalidInput as problem:
                errors.update(problem.errors)
    if errors:
        raise InvalidInput(errors)
    return values


def _weight(typed: str) -> float:
    try:
        weight = float(typed)
    except ValueError:
        weight = 0.0
    if not LIGHTEST <= weight <= HEAVIEST:
        raise InvalidInput({"weight": f"Give a number from {LIGHTEST} to {HEAVIEST:g}; 1 is the usual share."})
    return weight


def pause_runs(session: Session, tenant_id: UUID, reason: str) -> None:
    """Let nothing of the tenant start until somebody lets it go on; what runs goes on. Needs a system session."""
    tenant = _tenant(session, tenant_id)
    if tenant.runs_paused_at is not None:
        raise Refused(f"The runs of {tenant.name} are paused already.")
    reason = reason.strip()
    if not 1 <= len(reason) <= MOST_REASON:
        raise InvalidInput({"reason": f"Say why, in at most {MOST_REASON} characters: the tenant's people read it."})
    tenant.runs_paused_at, tenant.runs_paused_reason = database_now(session), reason
    _told(session, tenant, "tenant.pause_runs", {"reason": reason})


def resume_runs(session: Session, tenant_id: UUID) -> None:
    """Let the tenant's runs start again; it brings no credit for the time it waited. Needs a system session."""
    tenant = _tenant(session, tenant_id)
    if tenant.runs_paused_at is None:
        raise Refused(f"The runs of {tenant.name} are not paused.")
    tenant.runs_paused_at, tenant.runs_paused_reason = None, ""
    _told(session, tenant, "tenant.resume_runs", {})


def _tenant(session: Session, tenant_id: UUID) -> TenantRecord:
    tenant = session.get(TenantRecord, tenant_id, with_for_update=True)
    if tenant is None:
        raise Refused("This tenant has been deleted.")
    return tenant


def _told(session: Session, tenant: TenantRecord, action: str, details: dict[str, Any]) -> None:
    record(session, action, subject=("tenant", tenant.id, tenant.name), tenant_id=tenant.id, details=details)
    _go_on(session, _held(session, tenant.id))
    forget_after_commit(session)


def _held(session: Session, tenant_id: UUID) -> TenantLoad:
    load = session.get(TenantLoad, tenant_id, with_for_update=True, populate_existing=True)
    if load is None:
        raise Refused("This tenant has been deleted.")
    return load


def _go_on(session: Session, load: TenantLoad) -> None:
    """Let pages and the dispatcher see the change; who was held back starts level with the others."""
    clock = session.scalars(sa.select(DispatchClock.vtime)).one()
    load.vtime = max(load.vtime, clock)
    load.version += 1
    notify(session, RUNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why a tenant's ready runs wait for more than a free slot, and until when, if that is known."""

    words: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One limit with what is used of it; `until` is when all of it is free again."""

    label: str
    used: int
    most: int
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The bound tenant's limits at `now`, and what is used of them; `slots` is how much living workers do at once."""

    load: TenantLoad
    slots: int
    has_beat: bool
    now: datetime
    paused_for: str

    @property
    def hold(self) -> Hold | None:
        """Why ready runs wait; None if they only wait for their turn and a free slot."""
        if self.paused_for:
            return Hold(words=f"this organisation's runs are paused by the platform: {self.paused_for.rstrip('.')}")
        for bucket in sorted(buckets_of(self.load), key=lambda each: each.next_at(self.now), reverse=True):
            if not bucket.tokens(self.now):
                return Hold(
                    words=f"quota reached, {bucket.size:,} starts {_per(bucket)}",
                    until=bucket.next_at(self.now),
                )
        going = f"{self.load.running:,} of this organisation's runs are going on"
        if self.load.max_running is not None and self.load.running >= self.load.max_running:
            return Hold(words=f"{going}, its limit")
        if not self.slots:
            return Hold(words="no worker is running")
        if self.load.running >= self._share:
            return Hold(words=f"{going}, its share of the {self.slots:,} that the workers do at once")
        return None if self.has_beat else Hold(words="the scheduler is not running")

    @property
    def _share(self) -> int:
        """How many runs at once the dispatcher allows, whatever the limit says."""
        return share_of(self.slots) if self.load.max_running is None else most_of(self.slots)

    @property
    def gauges(self) -> list[Gauge]:
        """The limits that the platform has set on what runs."""
        gauges = [
            Gauge(
                label=f"Starts {_per(bucket)}",
                used=bucket.size - bucket.tokens(self.now),
                most=bucket.size,
                until=bucket.full_at if bucket.full_at and bucket.full_at > self.now else None,
            )
            for bucket in buckets_of(self.load)
        ]
        if self.load.max_running is not None:
            gauges.insert(0, Gauge(label="Runs at once", used=self.load.running, most=self.load.max_running))
        return gauges


def _per(bucket: Bucket) -> str:
    return "a day" if bucket.period == DAY else "a minute"


def usage() -> Usage:
    """Return what the bound tenant uses of its limits."""
    slots = sa.select(sa.func.coalesce(sa.func.sum(Process.slots), 0)).where(Process.kind == "worker", is_alive())
    has_beat = sa.exists().where(Process.kind == "beat", is_alive())
    query = sa.select(TenantLoad, sa.func.now(), slots.scalar_subquery(), has_beat)
    load, now, slots_now, beat_now = db.session.execute(query).one()
    return Usage(load=load, now=now, slots=slots_now, has_beat=beat_now, paused_for=current_tenant().paused_for)


def is_alive() -> sa.ColumnElement[bool]:
    """Return the condition that a Process has neither stopped nor been silent for a lease."""
    lease = cast(Settings, current_app.extensions["settings"]).lease
    return sa.and_(Process.stopped_at.is_(None), Process.seen_at > sa.func.now() - lease)
