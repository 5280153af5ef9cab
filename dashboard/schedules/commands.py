"""`flask schedules …`: what an operator may see and do of a tenant's schedules, without a browser."""

from __future__ import annotations

from uuid import UUID

import click
import sqlalchemy as sa

from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_record, print_rows
from dashboard.core.errors import Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.schedules import actions
from dashboard.schedules.board import last_outcomes, words_of
from dashboard.schedules.calendars import names_of
from dashboard.schedules.models import Schedule
from dashboard.tenants.commands import tenant_option

schedules = CommandGroup("schedules", help="A tenant's rules for what runs when. SCHEDULE is its id or its name.")


@schedules.command("list")
@tenant_option
@click.option("--archived", is_flag=True, help="Those that were put away.")
@click.option("--tag", default="", help="Only those with this tag.")
@json_option
def list_(archived: bool, tag: str, as_json: bool) -> None:
    """List schedules, by name."""
    is_archived = Schedule.archived_at.is_not(None)
    query = sa.select(Schedule).where(is_archived if archived else ~is_archived).order_by(Schedule.name, Schedule.id)
    if tag:
        query = query.where(Schedule.tags.contains([tag]))
    rows = [_summary(schedule) for schedule in db.session.scalars(query)]
    print_rows(rows, as_json=as_json, empty="There are no such schedules.")


@schedules.command()
@click.argument("schedule")
@tenant_option
@json_option
def show(schedule: str, as_json: bool) -> None:
    """Show a schedule."""
    found = find_schedule(schedule)
    record = {
        **_summary(found),
        "timezone": found.timezone or current_tenant().values["TIMEZONE"],
        "note": found.note,
        "tags": found.tags,
        "paused_reason": found.paused_reason,
        "paused_until": found.paused_until,
        "problem": found.problem,
        "holidays": names_of(found.holiday_calendars),
        "catchup": found.catchup,
        "overlap": found.overlap,
        "last_outcomes": last_outcomes([found.id])[found.id],
        "rev": found.rev,
    }
    print_record(record, as_json=as_json)


@schedules.command()
@click.argument("schedule")
@click.option("--force", is_flag=True, help="Also beside a run of it that is still going.")
@tenant_option
@json_option
def run(schedule: str, force: bool, as_json: bool) -> None:
    """Run a schedule once more, now; its next fire stays."""
    found = find_schedule(schedule)
    started = actions.run_now(found, force=force)
    print_done(
        f"{found.name} runs as soon as a worker is free: {started.id}",
        {"schedule": found.id, "run": started.id},
        as_json=as_json,
    )


@schedules.command()
@click.argument("schedule")
@click.option("--reason", default="", help="Shown beside the schedule.")
@tenant_option
@json_option
def pause(schedule: str, reason: str, as_json: bool) -> None:
    """Plan nothing of a schedule until somebody resumes it."""
    found = find_schedule(schedule)
    actions.pause(found, reason=reason)
    print_done(f"{found.name} is paused.", _summary(found), as_json=as_json)


@schedules.command()
@click.argument("schedule")
@tenant_option
@json_option
def resume(schedule: str, as_json: bool) -> None:
    """Let a paused schedule go on from now."""
    found = find_schedule(schedule)
    actions.resume(found)
    print_done(f"{found.name} goes on.", _summary(found), as_json=as_json)


def find_schedule(word: str) -> Schedule:
    """Return the tenant's schedule with this id or name. Raises Refused if there is none, or more than one."""
    found = db.session.scalars(sa.select(Schedule).where(_is(word)).limit(2)).all()
    if not found:
        raise Refused(f"{current_tenant().slug} has no schedule {word}. See: flask schedules list")
    if len(found) > 1:
        raise Refused(f"{current_tenant().slug} has several schedules called {word}: give the id of one.")
    return found[0]


def _is(word: str) -> sa.ColumnElement[bool]:
    try:
        return Schedule.id == UUID(word)
    except ValueError:
        return sa.and_(Schedule.name == word, Schedule.archived_at.is_(None))


def _summary(schedule: Schedule) -> Row:
    return {
        "id": schedule.id,
        "name": schedule.name,
        "state": schedule.state,
        "when": words_of(schedule),
        "next_at": schedule.next_at if schedule.paused_at is None else None,
        "job_type": schedule.job_type,
    }
