"""Move a fire: a schedule of one time by its rule, one fire of another by hand; and move it back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, time
from zoneinfo import ZoneInfo

from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.tenancy import require_binding
from dashboard.schedules import actions, single_fires
from dashboard.schedules.actions import Conflict
from dashboard.schedules.models import Schedule


class Outdated(Refused):
    """Somebody has changed this schedule since you opened this page. Look where it fires now, then move it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A fire where it is now: `nominal` and `rev` name it from here on; `in_pause` as `single_fires` words it."""

    nominal: datetime
    rev: int
    in_pause: str = ""


def move(schedule: Schedule, nominal: datetime, to: datetime, *, rev: int) -> Moved:
    """Run the fire at `nominal` at `to` instead (UTC), if the schedule is still at `rev`.

    Raises Outdated if it is not, InvalidInput if `to` has passed, is blacked out or is a day off, Refused for a fire
    that does not lie ahead or was decided on.
    """
    if schedule.rev != rev:
        raise Outdated
    if schedule.kind != "once":
        single_fires.move(schedule, nominal, to)
        return Moved(nominal=nominal, rev=schedule.rev, in_pause=single_fires.in_pause(schedule))
    single_fires.check_time(to)
    zone = ZoneInfo(schedule.timezone or require_binding().settings["TIMEZONE"])
    draft = replace(actions.draft_of(schedule), once_local=to.astimezone(zone).replace(tzinfo=None))
    try:
        actions.update(schedule, draft, rev=rev)
    except Conflict as error:
        raise Outdated from error
    except InvalidInput as error:
        raise InvalidInput({"to": " ".join(error.errors.values())}) from error
    return Moved(nominal=schedule.next_at or to, rev=schedule.rev)


def dropped_at(at: datetime, slot: str, zone: ZoneInfo) -> datetime | None:
    """Return the moment of a fire at `at` that is dropped on a day (it keeps its time) or an hour (its minutes).

    `slot` is like `2026-11-25` or `2026-11-25T09`; None for anything else.
    """
    local = at.astimezone(zone)
    day, _, hour = slot.partition("T")
    try:
        clock = time(int(hour), local.minute, local.second) if hour else local.time()
        return datetime.combine(datetime.fromisoformat(day).date(), clock, zone)
    except ValueError:
        return None
