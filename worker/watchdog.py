"""Look after schedules beside their planner: say what is overdue, follow new zone rules, let go on what was mended."""

from __future__ import annotations

import time

import structlog

from dashboard.core.clock import database_now, tzdata_version
from dashboard.core.orm import system_scope
from dashboard.schedules.mending import let_go_on
from dashboard.schedules.rezoning import follow_tzdata
from dashboard.schedules.watchdog import bark

WATCH_SECONDS = 60.0

FOLLOW_SECONDS = 3600.0
"""A beat that still has the older rules may have planned since the last look."""

log = structlog.get_logger(__name__)


class Watchdog:
    """Its steps are made in a thread of beat's own, so that a planner that hangs does not go unseen."""

    def __init__(self) -> None:
        self._followed_at: float | None = None

    def step(self) -> float:
        """Look once; return how many seconds to wait until the next time."""
        if self._followed_at is None or time.monotonic() - self._followed_at > FOLLOW_SECONDS:
            self._follow()
            self._followed_at = time.monotonic()
        self._mend()
        with system_scope("watchdog") as session:
            bark(session)
        return WATCH_SECONDS

    def _mend(self) -> None:
        """Not only at the start: a beat that lacks the plugin may still be holding schedules."""
        after = None
        while True:
            with system_scope("mending") as session:
                after = let_go_on(session, after)
            if after is None:
                return

    def _follow(self) -> None:
        after = None
        while True:
            with system_scope("time zone rules") as session:
                after = follow_tzdata(session, database_now(session), after)
            if after is None:
                return
            log.info("time_zone_rules_followed", tzdata=tzdata_version())
