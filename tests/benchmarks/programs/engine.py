"""Our own recurrence engine, through its public door."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from dashboard.schedules.recurrence import Recurrence
from tests.benchmarks.programs.cron_contest import ZONE, compete


def fires(expression: str, start: datetime) -> Iterator[datetime]:
    """Yield the fires after `start`."""
    rule = Recurrence(kind="cron", crons=[expression], timezone=ZONE)
    at = rule.after(start)
    while at is not None:
        yield at
        at = rule.after(at)


if __name__ == "__main__":
    compete(fires)
