"""Bring the demo into the database, and along when ports have moved; what is there already stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from config.settings import Settings
from dashboard.accounts import actions as accounts
from dashboard.accounts.models import Membership
from dashboard.audit.actions import name_actor
from dashboard.core.clock import utc_now
from dashboard.core.errors import StationmasterError
from dashboard.core.mounting import normal_port
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import Actor, Binding, bound, resolver_of
from dashboard.demo.history import write_history
from dashboard.demo.story import PASSWORD, PEOPLE, TENANTS, DemoPerson, DemoSchedule, DemoTenant
from dashboard.jobs.registry import all_job_types
from dashboard.schedules import actions as schedules
from dashboard.schedules import calendars
from dashboard.schedules.holidays import name_of
from dashboard.schedules.models import HolidayCalendar, Schedule
from dashboard.tenants import actions as tenants
from dashboard.tenants.models import TenantRecord, TenantSetting
from dashboard.tenants.registry import forget_cached

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlace:
    """Where a tenant of the demo is, and who signs in there as its admin."""

    tenant: str
    url: str
    email: str


def load(app: Flask, settings: Settings) -> list[DemoPlace]:
    """Load whatever is missing; return where the tenants are."""
    places = []
    with system_scope("demo") as session:
        for tenant in TENANTS:
            url = root_of(tenant, settings.platform_root)
            _load_tenant(session, tenant, url, settings)
            places.append(DemoPlace(tenant=tenant.name, url=url, email=tenant.owner))
        owners = {person.email: _load_person(session, person) for person in PEOPLE}
    forget_cached(app)
    for tenant in TENANTS:
        _load_schedules(app, tenant, owners[tenant.owner])
    return places


def root_of(tenant: DemoTenant, platform_root: str) -> str:
    """Return the tenant's root beside the platform's: http://localhost:5000/acme, http://globex.localhost:5000."""
    parts = urlsplit(platform_root)
    if tenant.subdomain:
        return urlunsplit((parts.scheme, f"{tenant.subdomain}.{parts.netloc}", "", "", ""))
    return platform_root + tenant.prefix


def _load_tenant(session: Session, tenant: DemoTenant, url: str, settings: Settings) -> None:
    record = session.scalar(sa.select(TenantRecord).where(TenantRecord.slug == tenant.slug))
    if record is None:
        record = tenants.create(session, tenant.slug, tenant.name, [url], tenant.timezone)
        tenants.set_option(session, record.id, "ACCENT_HUE", tenant.hue)
        tenants.set_option(session, record.id, "MAIL_SENDER", tenant.sender)
    else:
        _move(record, url)
    _point_mail(session, record, {"SMTP_HOST": LOOPBACK, "SMTP_PORT": settings.smtp_port, "SMTP_TLS": "none"})


def _move(record: TenantRecord, url: str) -> None:
    """Take the tenant's canonical root along to where the dashboard listens now."""
    parts = urlsplit(url)
    root = record.roots[0]
    root.scheme, root.host, root.port = parts.scheme, parts.hostname or "", normal_port(parts.port)
    root.prefix = parts.path


def _point_mail(session: Session, record: TenantRecord, wanted: Mapping[str, Any]) -> None:
    """Lead its mail to the local catcher, unless somebody gave it a mail server of its own."""
    settings = session.scalars(sa.select(TenantSetting).where(TenantSetting.tenant_id == record.id))
    given = {setting.key: setting.value for setting in settings}
    if given.get("SMTP_HOST", LOOPBACK) != LOOPBACK:
        return
    for key, value in wanted.items():
        if given.get(key) != value:
            tenants.set_option(session, record.id, key, value)


def _load_person(session: Session, person: DemoPerson) -> UUID:
    user = accounts.user_by_email(session, person.email)
    if user is None:
        user = accounts.create_user(session, person.email, person.name, PASSWORD, person.is_platform_owner)
    for slug, role in person.roles.items():
        is_member = sa.select(Membership.user_id).join(TenantRecord, TenantRecord.id == Membership.tenant_id)
        if session.scalar(is_member.where(TenantRecord.slug == slug, Membership.user_id == user.id)) is None:
            accounts.add_member(session, person.email, slug, role)
    return user.id


def _load_schedules(app: Flask, tenant: DemoTenant, owner: UUID) -> None:
    snapshot = resolver_of(app).by_slug(tenant.slug)
    if snapshot is None:
        raise StationmasterError(f"{tenant.name} has no root that is verified.")
    known = {job.key for job in all_job_types()}
    actor = Actor(kind="user", id=owner)
    name_actor(actor, next(person.name for person in PEOPLE if person.email == tenant.owner))
    with bound(Binding.of(snapshot, actor=actor)):
        for schedule in tenant.schedules:
            there = db.session.scalar(sa.select(Schedule.id).where(Schedule.name == schedule.name).limit(1))
            if there is None and schedule.job_type in known:
                _load_schedule(schedule, tenant.timezone)
        db.session.remove()


def _calendar(place: str) -> UUID:
    """Return the tenant's calendar of a place's public holidays; made if it is missing."""
    known = db.session.scalar(sa.select(HolidayCalendar.id).where(HolidayCalendar.place == place))
    return known or calendars.create(calendars.CalendarDraft(name=name_of(place), place=place)).id


def _load_schedule(schedule: DemoSchedule, zone: str) -> None:
    made = schedules.create(
        schedules.ScheduleDraft(
            name=schedule.name,
            job_type=schedule.job_type,
            params=dict(schedule.params),
            kind="cron" if schedule.cron else "interval" if schedule.every else "once",
            crons=[schedule.cron] if schedule.cron else [],
            every_seconds=int(schedule.every.total_seconds()) if schedule.every else None,
            once_local=_at_ten(schedule.days_ahead, zone) if schedule.days_ahead else None,
            holiday_calendars=[_calendar(schedule.holidays)] if schedule.holidays else [],
        )
    )
    if schedule.paused_reason:
        schedules.pause(made, reason=schedule.paused_reason)
    write_history(db.session(), made, schedule)
    db.session.commit()


def _at_ten(days_ahead: int, zone: str) -> datetime:
    """Return ten o'clock of that day, without a zone, as the schedule form gives it."""
    today = utc_now().astimezone(ZoneInfo(zone)).date()
    return datetime.combine(today + timedelta(days=days_ahead), time(10))
