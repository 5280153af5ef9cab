"""Tell the time: the database's clock decides, and time zones come from the pinned tzdata wheel."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

import sqlalchemy as sa
from sqlalchemy.orm import Session

# The system's zone files differ between machines (Africa/Casablanca does today): only the wheel counts.
zoneinfo.reset_tzpath(to=[])


def database_now(session: Session) -> datetime:
    """Return `now()` of the session's transaction: the authority on what is due."""
    return session.execute(sa.select(sa.func.now())).scalar_one()


def utc_now() -> datetime:
    """Return this machine's clock, for what never decides whether something fires."""
    return datetime.now(UTC)


@cache
def tzdata_version() -> str:
    """Return the version of the time zone rules in use, like `2026.2`."""
    return version("tzdata")


@cache
def zone_names() -> tuple[str, ...]:
    """Return the time zones an operator may choose, sorted, without the historical aliases of no region."""
    return (
        "UTC",
        *sorted(name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith("Etc/")),
    )
