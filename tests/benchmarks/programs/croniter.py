"""croniter, which celery-redbeat's and rq-scheduler's users know."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from croniter import croniter

from tests.benchmarks.programs.cron_contest import compete


def fires(expression: str, start: datetime) -> Iterator[datetime]:
    """Yield the fires after `start`."""
    each = croniter(expression, start, ret_type=datetime)
    while True:
        yield each.get_next()


if __name__ == "__main__":
    compete(fires)
