"""Find what schedules have in common that fire in the same minutes, so that a page asks each rule once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from dashboard.schedules.actions import recurrence
from dashboard.schedules.civil import EPOCH
from dashboard.schedules.crontab import parse
from dashboard.schedules.models import Schedule
from dashboard.schedules.recurrence import Recurrence, RecurrenceError

MINUTE = timedelta(minutes=1)


class Alike(NamedTuple):
    """A rule that many schedules may share, and how much later within the minute this one fires."""

    rule: Recurrence
    shift: timedelta = timedelta()


def alike(schedule: Schedule, start: datetime) -> Alike | None:
    """Return the rule that the bound tenant's schedule shares with all that fire in the same minutes from `start` on.

    None for a rule that makes no sense.
    """
    try:
        rule = recurrence(schedule)
    except RecurrenceError:
        return None
    if rule.kind == "interval" and (rule.start_at or rule.end_at or (rule.anchor and rule.anchor > start)):
        return Alike(rule)
    return _shared(rule)


@lru_cache(maxsize=4096)
def _shared(rule: Recurrence) -> Alike:
    """Name `H` by the value that it stands for, and count periods of whole minutes from a whole minute of 1970."""
    if rule.kind == "cron" and rule.spread_key:
        crons = [" ".join(parse(cron, rule.spread_key).fields) for cron in rule.crons]
        return Alike(replace(rule, crons=crons, spread_key=""))
    if rule.kind == "interval" and isinstance(rule.every, timedelta) and not rule.every % MINUTE:
        phase = ((rule.anchor or EPOCH) - EPOCH) % rule.every
        shift = phase % MINUTE
        return Alike(replace(rule, anchor=EPOCH + phase - shift), shift)
    return Alike(rule)
