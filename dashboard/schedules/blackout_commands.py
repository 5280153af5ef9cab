"""`flask blackouts …`: the windows of time in which nothing of a tenant is planned, without a browser."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import click

from dashboard.core.clock import utc_now
from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_rows
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.formats import plural
from dashboard.core.tenancy import current_tenant
from dashboard.core.typed import instant, wall_time
from dashboard.schedules import blackouts as windows
from dashboard.schedules.agenda import swallowed
from dashboard.schedules.blackouts import BlackoutDraft
from dashboard.schedules.models import Blackout
from dashboard.tenants.commands import tenant_option

blackouts = CommandGroup("blackouts", help="Windows in which nothing of a tenant is planned.")


@blackouts.command("list")
@click.option("--past", is_flag=True, help="Those that are over, the newest first.")
@tenant_option
@json_option
def list_(past: bool, as_json: bool) -> None:
    """List the blackouts that go on or lie ahead."""
    found = windows.past(utc_now()) if past else windows.ahead(utc_now())
    print_rows([_summary(each) for each in found], as_json=as_json, empty="There are no such blackouts.")


@blackouts.command()
@click.argument("name")
@click.option("--from", "start", required=True, metavar="TIME", help="Like 2026-12-24T18:00, on the tenant's clock.")
@click.option("--to", "end", required=True, metavar="TIME", help="A fire at this very moment runs.")
@click.option("--yes", is_flag=True, help="Do it also if it swallows fires.")
@tenant_option
@json_option
def add(name: str, start: str, end: str, yes: bool, as_json: bool) -> None:
    """Black out a window. What it would swallow is only listed without --yes."""
    draft = BlackoutDraft(name=name.strip(), start_at=_moment("from", start), end_at=_moment("to", end))
    windows.check(draft, utc_now())
    found = swallowed(draft.start_at, draft.end_at)
    if found.fires and not yes:
        rows = [{"schedule": schedule.name, "fires": count} for schedule, count in found.schedules]
        print_rows(rows, as_json=as_json, empty="")
        least = "at least " if found.more else ""
        raise Refused(f"Nothing is changed yet: it swallows {least}{plural(found.fires, 'fire')}. Add --yes to do it.")
    made = windows.create(draft)
    print_done(f"{made.name} is set: nothing is planned in it.", _summary(made), as_json=as_json)


@blackouts.command()
@click.argument("blackout")
@tenant_option
@json_option
def end(blackout: str, as_json: bool) -> None:
    """End a blackout now, or take it away before it begins; BLACKOUT is its id or its name."""
    found = _find(blackout)
    record = _summary(found)
    windows.cancel(found)
    print_done(f"{record['name']} is over: what is due from now on runs.", record, as_json=as_json)


def _moment(option: str, text: str) -> datetime:
    """Read a time with its offset from UTC, or one of the tenant's clock. Raises InvalidInput."""
    moment = instant(text) or wall_time(text, ZoneInfo(current_tenant().values["TIMEZONE"]))
    if moment is None:
        raise InvalidInput({option: f"“{text}” is no time. Write it like 2026-12-24T18:00."})
    return moment


def _find(word: str) -> Blackout:
    """Return the blackout with this id or name that is not over. Raises Refused if there is none, or more than one."""
    found = [each for each in windows.ahead(utc_now()) if word in (each.name, str(each.id))]
    if not found:
        raise Refused(f"{current_tenant().slug} has no blackout {word} that is not over. See: flask blackouts list")
    if len(found) > 1:
        raise Refused(f"{current_tenant().slug} has several blackouts called {word}: give the id of one.")
    return found[0]


def _summary(blackout: Blackout) -> Row:
    return {"id": blackout.id, "name": blackout.name, "start_at": blackout.start_at, "end_at": blackout.end_at}
