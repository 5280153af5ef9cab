"""Delete old runs beside everything else that beat does, at half speed and giving way to whoever is busy."""

from __future__ import annotations

import time

import sqlalchemy as sa
import structlog

from dashboard.core.orm import system_scope
from dashboard.runs.retention import Sweep, next_sweep

LOOK_SECONDS = 60.0
"""How often it looks for a tenant whose runs were not looked through lately."""

GIVES_WAY_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Purger:
    """Its steps are made in a thread of beat's own; several beats take different runs."""

    def __init__(self) -> None:
        self._sweep: Sweep | None = None
        self._deleted = 0

    def step(self) -> float:
        """Delete a few runs; return how many seconds to wait until the next time."""
        began = time.monotonic()
        if self._sweep is None:
            with system_scope("retention") as session:
                self._sweep = next_sweep(session)
        if self._sweep is None:
            return LOOK_SECONDS
        try:
            self._delete(self._sweep)
        except sa.exc.OperationalError as error:
            self._sweep.give_way(error)
            log.info("purge_gave_way", tenant=self._sweep.kept.slug, runs=self._sweep.runs)
            return GIVES_WAY_SECONDS
        return time.monotonic() - began  # so that it works half of the time at most

    def _delete(self, sweep: Sweep) -> None:
        with system_scope("retention") as session:
            self._deleted += sweep.step(session)
        if not sweep.is_done:
            return
        if self._deleted:
            log.info("runs_purged", tenant=sweep.kept.slug, runs=self._deleted, days=sweep.kept.days)
        self._sweep, self._deleted = None, 0
