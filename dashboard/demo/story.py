"""Who and what is in the demo, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dashboard.accounts.access import Role

PASSWORD = "station-demo-1"  # noqa: S105 - known to everybody, which is why the demo belongs in development


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPerson:
    """Somebody who can sign in; `roles` maps slugs to what they are there."""

    email: str
    name: str
    roles: Mapping[str, Role] = field(default_factory=dict)
    is_platform_owner: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSchedule:
    """A schedule; exactly one of `cron`, `every` and `days_ahead` (once, at ten) says when it fires.

    It does not fire on the public holidays of the place `holidays`, like "GB-ENG", for which there is a calendar.
    `past` are the states of its earlier runs, oldest first; `takes` is how long one took.
    """

    name: str
    job_type: str
    params: Mapping[str, Any]
    cron: str = ""
    every: timedelta | None = None
    days_ahead: int = 0
    holidays: str = ""
    paused_reason: str = ""
    past: tuple[str, ...] = ()
    takes: timedelta = timedelta(seconds=16)
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTenant:
    """An organisation. Its root is the platform's with `prefix` after it or `subdomain` before its host."""

    slug: str
    name: str
    prefix: str = ""
    subdomain: str = ""
    timezone: str
    hue: int
    sender: str
    owner: str
    schedules: tuple[DemoSchedule, ...]


def mail(to: str, subject: str, *lines: str) -> dict[str, Any]:
    """Return the parameters of a mail, its text in Markdown, with a button that leads to the runs."""
    return {"to": [to], "subject": subject, "body": "\n\n".join(lines), "link": "/runs"}


WELL = ("succeeded",)
SUPPLIER_AWAY = "The supplier's price server does not answer."

ACME = DemoTenant(
    slug="acme",
    name="Acme Ltd",
    prefix="/acme",
    timezone="Europe/London",
    hue=266,
    sender="Acme Reports <reports@acme.example>",
    owner="olivia@acme.example",
    schedules=(
        DemoSchedule(
            name="Stock levels from the warehouses",
            job_type="demo.stock_sync",
            params={"items": 40},
            every=timedelta(minutes=15),
            past=WELL * 9 + ("failed",) + WELL * 12,
            error="The warehouse in Leeds closed the connection.",
        ),
        DemoSchedule(
            name="Morning summary for the shop floor",
            job_type="email.message",
            params=mail(
                "floor@acme.example",
                "Good morning, Acme",
                "Here is what **today** brings: three deliveries before noon, and the stocktaking at four.",
            ),
            cron="0 9 * * 1-5",
            holidays="GB-ENG",
            past=WELL * 8,
            takes=timedelta(seconds=1),
        ),
        DemoSchedule(
            name="Announcement of the spring catalogue",
            job_type="email.message",
            params=mail("customers@acme.example", "The spring catalogue is out", "Have a look: it is worth it."),
            days_ahead=3,
        ),
        DemoSchedule(
            name="Full stocktaking",
            job_type="demo.stock_sync",
            params={"items": 120, "full": True},
            cron="30 2 1 * *",
            paused_reason="The old warehouse is being cleared. Ask Olivia before it runs again.",
            past=WELL,
            takes=timedelta(seconds=48),
        ),
        DemoSchedule(
            name="Prices from Initech",
            job_type="demo.price_import",
            params={"supplier": "Initech"},
            every=timedelta(minutes=20),
            past=WELL * 5 + ("dead",) * 4,
            takes=timedelta(seconds=1),
            error=SUPPLIER_AWAY,
        ),
    ),
)

GLOBEX = DemoTenant(
    slug="globex",
    name="Globex Corporation",
    subdomain="globex",
    timezone="America/New_York",
    hue=150,
    sender="Globex Operations <operations@globex.example>",
    owner="gus@globex.example",
    schedules=(
        DemoSchedule(
            name="Reactor log digest",
            job_type="email.message",
            params=mail("engineers@globex.example", "Reactor log", "Nothing unusual in the last hour."),
            every=timedelta(hours=1),
            past=WELL * 14,
            takes=timedelta(seconds=1),
        ),
        DemoSchedule(
            name="Spare parts count",
            job_type="demo.stock_sync",
            params={"items": 25},
            cron="*/30 8-18 * * 1-5",
            past=WELL * 6,
            takes=timedelta(seconds=10),
        ),
    ),
)

TENANTS = (ACME, GLOBEX)

PEOPLE = (
    DemoPerson(email="olivia@acme.example", name="Olivia Ames", roles={"acme": Role.ADMIN}),
    DemoPerson(email="omar@acme.example", name="Omar Haddad", roles={"acme": Role.OPERATOR}),
    DemoPerson(email="vera@acme.example", name="Vera Lindt", roles={"acme": Role.VIEWER}),
    DemoPerson(email="gus@globex.example", name="Gus Okafor", roles={"globex": Role.ADMIN}),
    DemoPerson(email="pat@stationmaster.example", name="Pat Rivera", is_platform_owner=True),
)
