"""Let `celery -A worker.main beat` do what `python -m worker.beat` does, for who starts all by that command."""

from __future__ import annotations

from typing import Any

from celery import beat

from worker.context import TenantCelery
from worker.scheduler import Scheduler


class DatabaseScheduler(beat.Scheduler):
    """Celery's view of our scheduler. Periodic tasks of Celery's own have no place here: schedules are rows."""

    def __init__(self, app: TenantCelery, lazy: bool = False, **options: Any) -> None:
        super().__init__(app, lazy=True, **options)
        self.scheduler = Scheduler(app.flask_app)
        if not lazy:  # beat's banner makes a lazy one, only to name it
            self.scheduler.start()

    def tick(self, *_: Any, **__: Any) -> float:
        """Look once; return that the next look may begin at once, because it waits by itself."""
        self.scheduler.tick()
        return 0.0

    def sync(self) -> None:
        """There is nothing to write: every decision is committed already."""

    def close(self) -> None:
        """Stop; Celery calls it twice."""
        self.scheduler.stop()

    @property
    def info(self) -> str:
        return "    . schedules, dispatcher and reaper -> PostgreSQL"
