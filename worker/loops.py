"""Do a piece of work again and again in a thread of its own, whatever the database and the broker do."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from flask import Flask

from worker.outages import DATABASE_AWAY, first_line
from worker.publishing import BrokerAway

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Loop:
    """Calls `step` inside the application's context, then waits for the seconds it returned, or until woken.

    A step that fails is tried again after a growing pause. The first failure of a row is told, and its end. Between
    two steps as many seconds pass as `rest` returns, at least, so that many wake-ups become one step.
    """

    def __init__(
        self, name: str, flask_app: Flask, step: Callable[[], float], *, rest: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.name = name
        self.flask_app = flask_app
        self.step = step
        self.rest = rest
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None or not self._thread.is_alive():
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Let the next step begin now."""
        self._awake.set()

    def stop(self, patience: float = 2.0) -> None:
        """Let no further step begin, and wait for the current one for `patience` seconds."""
        self._stopping.set()
        self._awake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(patience)

    def once(self) -> float:
        """Make one step; return how long to wait for the next, in seconds."""
        try:
            with self.flask_app.app_context():
                pause = self.step()
        except (*DATABASE_AWAY, BrokerAway) as error:
            return self._failed("database_is_away" if isinstance(error, DATABASE_AWAY) else "broker_is_away", error)
        except Exception:
            log.exception("loop_failed", loop=self.name)
            return LONGEST_PAUSE_SECONDS
        if self._failures:
            log.info("goes_on", loop=self.name)
            self._failures = 0
        return pause

    def _failed(self, event: str, error: Exception) -> float:
        if self._failures == 0:
            log.warning(event, loop=self.name, reason=first_line(error))
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 8), LONGEST_PAUSE_SECONDS)
        self._failures += 1
        return pause

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = self.once()
            self._stopping.wait(self.rest())
            self._awake.wait(LONGEST_PAUSE_SECONDS if self._stopping.is_set() else pause)
            self._awake.clear()
