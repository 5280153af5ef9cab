"""Look at each part that the dashboard needs, and say in a sentence how it is and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Literal, cast

import redis
import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from config.broker import broker_client
from config.patience import patience
from config.queues import QUEUES
from config.roles import ADVICE, role_of
from config.settings import Settings
from dashboard.core.clock import tzdata_version, utc_now
from dashboard.core.formats import duration, plural
from dashboard.core.orm import Base, db, system_scope
from dashboard.database import MIGRATIONS
from dashboard.jobs.registry import all_job_types
from dashboard.jobs.registry import plugins as loaded_plugins
from dashboard.monitor.fleet import Fleet, load_fleet
from dashboard.monitor.upstream import Flower, FlowerAway, FlowerBusy
from dashboard.runs.models import TenantLoad
from dashboard.schedules.models import Schedule
from dashboard.schedules.watchdog import LISTED, overdue

Status = Literal["ok", "warn", "fail"]

LARGEST_SKEW = timedelta(seconds=2)
"""Leases and schedules go by the database's clock; sessions and signatures by this machine's."""

DATABASE_PATIENCE_SECONDS = 5.0

DRIFT_TOLD_FOR = timedelta(days=1)

ROWS_OF_THEIR_OWN = frozenset({"tenant", "user_account"})
"""Walled tables whose tenant is not in a column `tenant_id`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one part is; `advice` says what to do if it is not as it should be."""

    part: str
    status: Status
    sentence: str
    advice: str = ""


Check = Callable[[], Iterator[Finding]]


def database() -> Iterator[Finding]:
    """Whether PostgreSQL answers under each credential, as a role that cannot pass the walls."""
    for variable, engine in _engines():
        try:
            with engine.connect() as connection:
                yield from _role(variable, connection)
        except SQLAlchemyError as error:
            yield Finding(
                part="database",
                status="fail",
                sentence=f"The database of {variable} does not answer: {_reason(error)}",
                advice=f"Start PostgreSQL, or correct {variable}.",
            )


def walls() -> Iterator[Finding]:
    """Whether row-level security is forced on every table with tenants' rows."""
    wanted = {name for name, table in Base.metadata.tables.items() if "tenant_id" in table.columns} | ROWS_OF_THEIR_OWN
    with system_scope("doctor") as session:
        walled = set(session.scalars(_WALLED_TABLES))
    if missing := sorted(wanted - walled):
        yield Finding(
            part="walls",
            status="fail",
            sentence=f"Row-level security is not forced on {', '.join(missing)}: tenants could see each other's rows.",
            advice="Run flask db upgrade as the owner of the tables, and change no policies by hand.",
        )
    else:
        yield Finding(part="walls", status="ok", sentence=f"Row-level security is forced on {len(wanted)} tables.")
    if settings_here().one_credential:
        yield Finding(
            part="walls",
            status="warn",
            sentence="One database credential serves all scopes, so the wall between tenants is a setting, not a role.",
            advice="Set SYSTEM_DATABASE_URL and OWNER_DATABASE_URL where the host gives you roles (docs/deploy.md).",
        )


_WALLED_TABLES = sa.text(
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
    " AND c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)"
)


def migrations() -> Iterator[Finding]:
    """Whether the database has the schema of this release."""
    wanted = _migration_heads()
    with system_scope("doctor") as session:
        present = _present_heads(session)
    if present == wanted:
        yield Finding(part="migrations", status="ok", sentence=f"The database is at {', '.join(sorted(present))}.")
    else:
        yield Finding(
            part="migrations",
            status="fail",
            sentence=f"The database is at {_words(present)} and this release needs {_words(wanted)}.",
            advice="Run: flask db upgrade",
        )


def broker() -> Iterator[Finding]:
    """Whether Redis or Valkey answers, and would rather refuse a message than forget one."""
    client = broker_client(settings_here(), connect_timeout=2, timeout=2)
    try:
        server, memory = client.info("server"), client.info("memory")
    except redis.RedisError as error:
        yield Finding(
            part="broker",
            status="fail",
            sentence=f"The broker of REDIS_URL does not answer: {error}",
            advice="Start Redis or Valkey, or correct REDIS_URL. Work is kept in the database meanwhile.",
        )
        return
    finally:
        client.close()
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version") or server["redis_version"]
    yield Finding(part="broker", status="ok", sentence=f"{name} {version} answers.")
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Finding(
            part="broker",
            status="warn",
            sentence=f"When its memory is full it forgets messages (maxmemory-policy {policy}).",
            advice="Set maxmemory-policy to noeviction.",
        )


def clock() -> Iterator[Finding]:
    """Whether this machine's clock agrees with the database's."""
    with system_scope("doctor") as session:
        before = utc_now()
        theirs = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        ours = before + (utc_now() - before) / 2
    skew = abs(ours - theirs)
    if skew <= LARGEST_SKEW:
        yield Finding(part="clock", status="ok", sentence=f"It is {_ms(skew)} from the database's.")
    else:
        yield Finding(
            part="clock",
            status="fail",
            sentence=f"This machine's clock is {skew.total_seconds():.1f} s from the database's.",
            advice="Let NTP set the clocks of both machines.",
        )


def tzdata() -> Iterator[Finding]:
    """Whether all processes know the same rules of time zones."""
    ours = tzdata_version()
    strays = [process for process in _fleet().alive if process.tzdata not in ("", ours)]
    if not strays:
        yield Finding(part="tzdata", status="ok", sentence=f"Time zone rules are of {ours}.")
    for process in strays:
        yield Finding(
            part="tzdata",
            status="fail",
            sentence=f"{process.name} has time zone rules of {process.tzdata}, and this process of {ours}.",
            advice="Deploy the same release to every process.",
        )


def workers() -> Iterator[Finding]:
    """Whether workers live and take from every queue."""
    alive = _fleet().workers
    served = {queue for process in alive for queue in process.queues}
    if not alive:
        yield Finding(
            part="workers",
            status="fail",
            sentence="No worker has been heard of lately: nothing runs.",
            advice="Start one: celery -A worker.main worker",
        )
    elif missing := [queue for queue in QUEUES if queue not in served]:
        yield Finding(
            part="workers",
            status="fail",
            sentence=f"No worker takes from the queue {' or '.join(missing)}.",
            advice=f"Start one for it: celery -A worker.main worker -Q {','.join(missing)}",
        )
    else:
        slots = sum(process.slots for process in alive)
        yield Finding(part="workers", status="ok", sentence=f"{len(alive)} alive, {slots} slots.")


def beat() -> Iterator[Finding]:
    """Whether a beat lives, which plans, dispatches and reaps."""
    alive = _fleet().beats
    if alive:
        yield Finding(part="beat", status="ok", sentence=f"{len(alive)} alive.")
    else:
        yield Finding(
            part="beat",
            status="fail",
            sentence="No beat has been heard of lately: nothing is planned or dispatched.",
            advice="Start one: python -m worker.beat",
        )


def schedules() -> Iterator[Finding]:
    """Whether what is due was planned."""
    with system_scope("doctor") as session:
        late = overdue(session)
    if late:
        number = f"{LISTED} or more" if len(late) == LISTED else plural(len(late), "schedule")
        yield Finding(
            part="schedules",
            status="fail",
            sentence=f"The planner is late: {number} overdue, the first by {duration(late[0].late)}.",
            advice="Read beat's log for loop_failed and schedule_is_poisoned, then start beat again, or a second one.",
        )
    else:
        yield Finding(part="schedules", status="ok", sentence="None is overdue.")


def plugins() -> Iterator[Finding]:
    """Which job types the plugins bring here, and whether schedules wait for one that none brings."""
    known = {job.key for job in all_job_types()}
    with system_scope("doctor") as session:
        wanted = set(session.scalars(sa.select(Schedule.job_type).where(Schedule.archived_at.is_(None)).distinct()))
    if missing := sorted(wanted - known):
        yield Finding(
            part="plugins",
            status="warn",
            sentence=f"Schedules need job types that nothing here brings: {', '.join(missing)}.",
            advice="Name their modules in PLUGINS or install their package, for every process; or archive them.",
        )
    brought = [f"{name} brings {', '.join(keys) or 'no job type'}" for name, keys in loaded_plugins().items()]
    yield Finding(part="plugins", status="ok", sentence=f"{'; '.join(brought) or 'There are none'}.")


def counters() -> Iterator[Finding]:
    """Whether each tenant's counters were what its runs say, all of the last day."""
    with system_scope("doctor") as session:
        lately = TenantLoad.drifted_at > sa.func.now() - DRIFT_TOLD_FOR
        number = session.scalar(sa.select(sa.func.count()).where(lately)) or 0
    if number:
        yield Finding(
            part="counters",
            status="warn",
            sentence=f"In the last day the counters of {plural(number, 'tenant')} were wrong, and were set right.",
            advice="No run was touched. Report it, with counters_drifted in beat's log: it is a fault of ours.",
        )
    else:
        yield Finding(part="counters", status="ok", sentence="They have been right for a day.")


def flower() -> Iterator[Finding]:
    """Whether Flower answers, if there shall be one."""
    client = cast("Flower | None", current_app.extensions.get("flower"))
    if client is None:
        yield Finding(part="flower", status="ok", sentence="FLOWER_URL is not set: the fleet view stands in.")
        return
    try:
        started = time.monotonic()
        client.ask("GET", "healthcheck")
    except (FlowerAway, FlowerBusy) as error:
        yield Finding(
            part="flower",
            status="fail",
            sentence=str(error),
            advice="Start it: celery -A worker.main flower --conf=config/flower.py",
        )
    else:
        took = timedelta(seconds=time.monotonic() - started)
        yield Finding(part="flower", status="ok", sentence=f"It answers within {_ms(took)}.")


NEEDS_NOTHING: dict[str, Check] = {"database": database, "broker": broker, "flower": flower}
NEEDS_DATABASE: dict[str, Check] = {"migrations": migrations, "clock": clock}
NEEDS_SCHEMA: dict[str, Check] = {
    "walls": walls,
    "tzdata": tzdata,
    "workers": workers,
    "beat": beat,
    "schedules": schedules,
    "plugins": plugins,
    "counters": counters,
}


def examine() -> list[Finding]:
    """Run every check; those that stand on a part which failed are left out, as they would only repeat it."""
    findings = [finding for check in NEEDS_NOTHING.values() for finding in _asked(check)]
    for checks, needs in ((NEEDS_DATABASE, "database"), (NEEDS_SCHEMA, "migrations")):
        if failed(findings, needs) or failed(findings, "database"):
            continue
        findings += [finding for check in checks.values() for finding in _asked(check)]
    return findings


def _asked(check: Check) -> list[Finding]:
    """Return what a check finds; a database that stands still would leave it waiting for ever."""
    with patience(DATABASE_PATIENCE_SECONDS):
        return list(check())


def failed(findings: list[Finding], part: str) -> bool:
    """Whether something about `part` was found to have failed."""
    return any(finding.status == "fail" and finding.part == part for finding in findings)


def _role(variable: str, connection: sa.Connection) -> Iterator[Finding]:
    role = role_of(connection)
    version = connection.execute(sa.text("SHOW server_version")).scalar_one().split()[0]
    if role.passes_walls:
        yield Finding(
            part="database",
            status="fail",
            sentence=f"{variable} signs in as {role.name}, who passes every wall between tenants.",
            advice=ADVICE,
        )
    else:
        yield Finding(part="database", status="ok", sentence=f"PostgreSQL {version} answers {variable} as {role.name}.")


def _engines() -> Iterator[tuple[str, sa.Engine]]:
    yield "DATABASE_URL", db.engines[None]
    if not settings_here().one_credential:
        yield "SYSTEM_DATABASE_URL", db.engines["system"]


def _fleet() -> Fleet:
    with system_scope("doctor") as session:
        return load_fleet(session)


@cache
def _migration_heads() -> frozenset[str]:
    return frozenset((MIGRATIONS / "HEAD").read_text().split())


def _present_heads(session: Session) -> frozenset[str]:
    """Ask the table itself: alembic's own way writes two lines into the log at every probe."""
    if not sa.inspect(session.connection()).has_table("alembic_version"):
        return frozenset()
    return frozenset(session.scalars(sa.text("SELECT version_num FROM alembic_version")))


def settings_here() -> Settings:
    """Return the settings that the app was made from."""
    return cast(Settings, current_app.extensions["settings"])


def _reason(error: SQLAlchemyError) -> str:
    """Return the last line of the driver's words, which name host and role but no password."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[-1]


def _words(heads: frozenset[str]) -> str:
    return ", ".join(sorted(heads)) or "nothing"


def _ms(length: timedelta) -> str:
    return f"{length.total_seconds() * 1000:.0f} ms"
