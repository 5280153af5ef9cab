"""Spread schedules that start in the same minute, by `H` or by jitter: foresee it, do it, and take it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.schedules import actions
from dashboard.schedules.actions import recurrence
from dashboard.schedules.agenda import MOST_FIRES, active_schedules
from dashboard.schedules.crowding import MINUTE, with_spread_minutes
from dashboard.schedules.models import Schedule
from dashboard.schedules.reach import Exceptions
from dashboard.schedules.recurrence import Recurrence, RecurrenceError, jittered

HASH, JITTER = "H", "15"
WAYS: Mapping[str, str] = {
    HASH: "Each at a minute of its own in the hour (H)",
    "5": "Up to 5 minutes later (jitter)",
    "15": "Up to 15 minutes later (jitter)",
    "30": "Up to 30 minutes later (jitter)",
}
"""How schedules may be spread, with what an operator reads; the numbers are minutes of jitter."""

MOST = 1000
"""Schedules that are spread at once."""

WINDOW = timedelta(hours=1)
_SECOND = timedelta(seconds=1)


class Spread(TypedDict):
    """A schedule that was spread, as JSON: its id, the revision that this made, and the fields as they were before."""

    id: str
    rev: int
    before: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What spreading would change: the runs that start in each minute of `minutes`, of all schedules, before and after.

    `changed` are the schedules that it would touch, `left` those of the same minute that this way cannot spread. It
    `gains` something if fewer of these would start in one minute than do now.
    """

    minutes: Sequence[datetime]
    before: Sequence[int]
    after: Sequence[int]
    changed: Sequence[Schedule]
    left: Sequence[Schedule]
    gains: bool

    @property
    def peak(self) -> int:
        return max(self.before)


def compare(minute: datetime, way: str) -> Comparison:
    """Foresee what spreading the bound tenant's schedules that start in `minute` would change; nothing is written."""
    crowd = crowded_at(minute)
    changed = [schedule for schedule in crowd if changes(schedule, way)][:MOST]
    minutes = _minutes(minute, way)
    before, after, crowded_after = Counter[datetime](), Counter[datetime](), Counter[datetime]()
    crowded, ids = ({schedule.id for schedule in each} for each in (crowd, changed))
    schedules = active_schedules(minutes[0])
    exceptions = Exceptions(schedules, minutes[-1] + MINUTE)
    for schedule in schedules:
        starts = Counter(_starts(schedule, _rule(schedule), schedule.jitter_seconds, minutes, exceptions))
        before += starts
        if schedule.id in ids:
            rule, jitter = _spread_rule(schedule, way)
            starts = Counter(_starts(schedule, rule, jitter, minutes, exceptions))
        after += starts
        if schedule.id in crowded:
            crowded_after += starts
    return Comparison(
        minutes=minutes,
        before=[before[each] for each in minutes],
        after=[after[each] for each in minutes],
        changed=changed,
        gains=max(crowded_after.values(), default=0) < len(crowd),
        left=[schedule for schedule in crowd if schedule.id not in ids],
    )


def crowded_at(minute: datetime) -> list[Schedule]:
    """Return the bound tenant's schedules without jitter that fire in this minute."""
    before, after = minute - _SECOND, minute + MINUTE
    found = []
    schedules = active_schedules(minute)
    exceptions = Exceptions(schedules, after)
    for schedule in schedules:
        rule = None if schedule.jitter_seconds else _rule(schedule)
        at = rule.after(before) if rule else None
        if rule and at is not None and at < exceptions.stop_of(schedule, rule, after):
            found.append(schedule)
    return found


def way_for(minute: datetime) -> str:
    """Return the way that suits what starts in `minute`: `H`, or jitter where `H` would spread nothing."""
    return HASH if any(changes(schedule, HASH) for schedule in crowded_at(minute)) else JITTER


def changes(schedule: Schedule, way: str) -> dict[str, Any]:
    """Return the fields that spreading a schedule this way changes; empty if it cannot."""
    if way != HASH:
        return {"jitter_seconds": int(way) * 60}
    crons = with_spread_minutes(schedule.crons) if schedule.kind == "cron" else list(schedule.crons)
    return {"crons": crons} if crons != list(schedule.crons) else {}


def spread(minute: datetime, way: str) -> list[Spread]:
    """Spread the schedules that start in `minute`; each is saved as an operator would, and never fires by it."""
    done = []
    for schedule in crowded_at(minute)[:MOST]:
        changed = changes(schedule, way)
        before = {name: getattr(schedule, name) for name in changed}
        if changed and _save(schedule, schedule.rev, changed):
            done.append(Spread(id=str(schedule.id), rev=schedule.rev, before=before))
    return done


def take_back(spread: Sequence[Spread]) -> int:
    """Give schedules back what spreading took, and return how many; what somebody has saved since stays."""
    found = ((actions.get(UUID(each["id"])), each) for each in spread)
    return sum(schedule is not None and _save(schedule, each["rev"], each["before"]) for schedule, each in found)


def _save(schedule: Schedule, rev: int, changed: Mapping[str, Any]) -> bool:
    """Save a schedule as somebody saw it at `rev`; what became invalid or was saved since is passed over."""
    try:
        actions.update(schedule, replace(actions.draft_of(schedule), **changed), rev=rev)
    except (InvalidInput, Refused):
        db.session.rollback()
        return False
    return True


def _minutes(minute: datetime, way: str) -> list[datetime]:
    """Return the minutes of the tenant's hour around `minute`, and as many more as the jitter reaches into."""
    local = minute.astimezone(ZoneInfo(require_binding().settings["TIMEZONE"]))
    start = minute - timedelta(minutes=local.minute)
    reach = minute - start + (timedelta() if way == HASH else timedelta(minutes=int(way)))
    return [start + MINUTE * number for number in range(max(WINDOW, reach) // MINUTE)]


def _rule(schedule: Schedule) -> Recurrence | None:
    try:
        return recurrence(schedule)
    except RecurrenceError:
        return None


def _spread_rule(schedule: Schedule, way: str) -> tuple[Recurrence | None, int]:
    rule = _rule(schedule)
    if way != HASH or rule is None:
        return rule, schedule.jitter_seconds if way == HASH else int(way) * 60
    hashed = replace(rule, crons=with_spread_minutes(rule.crons), spread_key=str(schedule.id))
    return hashed, schedule.jitter_seconds


def _starts(
    schedule: Schedule,
    rule: Recurrence | None,
    jitter_seconds: int,
    minutes: Sequence[datetime],
    exceptions: Exceptions,
) -> Iterator[datetime]:
    """Yield the minute of each of its starts within `minutes`, jitter included."""
    if rule is None:
        return
    jitter = timedelta(seconds=jitter_seconds)
    stop = exceptions.stop_of(schedule, rule, minutes[-1] + _SECOND)
    at = rule.after(minutes[0] - jitter - _SECOND)
    for _ in range(MOST_FIRES):
        if at is None or at >= stop:
            return
        following = rule.after(at)
        start = jittered(str(schedule.id), at, jitter, following).replace(second=0)
        if minutes[0] <= start <= minutes[-1]:
            yield start
        at = following
