"""What beat does: it plans in its own loop, and dispatches, reaps and looks after things in threads beside it.

Any number of beats may run; no lock decides who works. `worker.beat` is the program.
"""

from __future__ import annotations

import gc
import socket
import threading
import time
from typing import Any, cast

import structlog
from flask import Flask
from sqlalchemy.orm import Session

from config.patience import patience
from config.settings import Settings
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.trips import system_line
from dashboard.emails.delivery import doubt_abandoned
from dashboard.runs import reaper
from dashboard.runs.dispatcher import LOOKAHEAD_SECONDS, Pace, admit, hand_back, mend_buckets
from dashboard.runs.ledger import Move
from dashboard.runs.load import RUNS, SCHEDULES, reconcile
from dashboard.schedules.planner import plan
from worker.bulk import BulkWork
from worker.listening import Listener
from worker.lookout import Lookout
from worker.loops import Loop
from worker.presence import Presence
from worker.publishing import BrokerAway, Publisher
from worker.purging import Purger
from worker.watchdog import Watchdog

POLL_SECONDS = 1.0
"""How often each part looks for itself, if nothing wakes it."""

GATHERING_SECONDS = 0.006
"""How long ended runs are gathered, so that their slots are filled by one admission."""

LONGER_GATHERING_SECONDS = LOOKAHEAD_SECONDS / 2
"""The same at most while several runs end in that time: then as much work as twice that lies in the broker."""

ANOTHER_PLANS_SECONDS = 0.05
"""How long the planner leaves what is due to another one that holds it."""

SOMEBODY_HOLDS_SECONDS = 0.05
"""How long the reaper leaves a run whose time has come to whoever holds it."""

RECONCILE_SECONDS = 60.0

UNTIL_WOKEN_SECONDS = 3600.0
"""How long the second planner rests when the first can do it alone."""

log = structlog.get_logger(__name__)


class Dispatcher:
    """Admits ready runs and sends their messages; while the broker is away, it admits none."""

    def __init__(self, flask_app: Flask, settings: Settings) -> None:
        self.lease = settings.lease
        self.pace = Pace()
        self.publisher = Publisher(flask_app, settings)

    def step(self) -> float:
        self.publisher.connect()
        with system_line("dispatcher") as line:
            admitted = admit(line, lease=self.lease, pace=self.pace)
        unsent = self.publisher.publish(admitted)
        if unsent:
            with system_scope("dispatcher") as session:
                hand_back(session, unsent, "The broker did not take its message.")
            raise BrokerAway(f"{len(unsent)} runs wait for the broker.")
        return 0.0 if admitted else POLL_SECONDS

    def rest(self) -> float:
        """Return how long to gather before the next step: an admission of many runs costs little more than of one.

        While short runs end that is a third of what the workers have to do, which is less where the tenants' shares
        bound it than where LOOKAHEAD_SECONDS do.
        """
        if self.pace.rate * LONGER_GATHERING_SECONDS <= 1:
            return GATHERING_SECONDS
        return min(max(GATHERING_SECONDS, self.pace.lasts() / 3), LONGER_GATHERING_SECONDS)


class Reaper:
    """Takes back what dead workers held, wakes what has waited long enough, and keeps the counters right."""

    def __init__(self, settings: Settings) -> None:
        self.lease = settings.lease
        self._reconciled_at = time.monotonic()
        self._looked_at: float | None = None
        self._trusts_leases_from = 0.0
        self._ahead: float | None = None

    def step(self) -> float:
        begun = time.monotonic()
        reaped = self._take_back(begun)
        with system_scope("reaper") as session:
            woken = [*reaper.expire(session), *reaper.wake_due(session)]
        self._tell(reaped)
        self._reconcile()
        self._looked_at = begun
        if len(reaped) >= reaper.BATCH or len(woken) >= reaper.BATCH:
            return 0
        return self._until_next()

    def _take_back(self, now: float) -> list[Move]:
        """Take back what is overdue; not for one lease after the database stood still: workers could not renew either.

        A question that is under way meanwhile is given up, because its answer would come before they could. Nor for one
        lease after its clock was set forward: every lease has run out by it.
        """
        lease = self.lease.total_seconds()
        if self._looked_at is not None and now - self._looked_at > lease / 2:
            self._trusts_leases_from = now + lease
        if now < self._trusts_leases_from:
            return []
        with patience(lease / 2), system_scope("reaper") as session:
            if self._clock_was_set_forward(session):
                self._trusts_leases_from = now + lease
                return []
            return reaper.reap(session, self.lease)

    def _clock_was_set_forward(self, session: Session) -> bool:
        """Whether the database's clock has gained on ours, which nobody sets, since the last question."""
        before, self._ahead = self._ahead, database_now(session).timestamp() - time.monotonic()
        return before is not None and self._ahead - before > self.lease.total_seconds() / 2

    def _tell(self, reaped: list[Move]) -> None:
        for move in reaped:
            log.warning("run_taken_back", run_id=str(move.run_id), old=move.old, new=move.new)

    def _reconcile(self) -> None:
        if time.monotonic() - self._reconciled_at < RECONCILE_SECONDS:
            return
        self._reconciled_at = time.monotonic()
        with system_scope("reconcile") as session:
            drifts = reconcile(session)
            mend_buckets(session)
            reaper.mend_leases(session, self.lease)
            reaper.forget_processes(session)
            doubted = doubt_abandoned(session)
        if doubted:
            log.warning("mails_uncertain", count=doubted)
        for drift in drifts:
            log.error("counters_drifted", **{name: str(getattr(drift, name)) for name in drift.__slots__})

    def _until_next(self) -> float:
        with system_scope("reaper") as session:
            due = reaper.next_due(session)
            seconds = POLL_SECONDS if due is None else (due - database_now(session)).total_seconds()
        return min(seconds, POLL_SECONDS) if seconds > 0 else SOMEBODY_HOLDS_SECONDS


class Scheduler:
    """Plans what is due at each tick, and sleeps until something is committed, a second at most."""

    def __init__(self, flask_app: Flask) -> None:
        self.flask_app = flask_app
        self.settings = cast(Settings, flask_app.extensions["settings"])
        self.tick_ms = 0.0
        self._tick_began: float | None = None
        self._pause = 0.0
        self._awake = threading.Event()
        self._parts: tuple[Loop | Listener | Presence, ...] = ()
        self._planner = Loop("planner", flask_app, self._plan)
        self._second = Loop("second planner", flask_app, self._plan_along)
        self._lookout = Lookout(self.settings)

    def start(self) -> None:
        """Start the threads."""
        settings = self.settings
        dispatcher = Dispatcher(self.flask_app, settings)
        dispatching = Loop("dispatcher", self.flask_app, dispatcher.step, rest=dispatcher.rest)
        reaping = Loop("reaper", self.flask_app, Reaper(settings).step)
        watching = Loop("watchdog", self.flask_app, Watchdog().step)
        bulk = Loop("bulk work", self.flask_app, BulkWork().step)
        purging = Loop("purger", self.flask_app, Purger().step)
        listener = Listener(settings, {RUNS: dispatching.wake, SCHEDULES: self._awake.set})
        name = f"beat@{socket.gethostname()}"
        presence = Presence(self.flask_app, "beat", name, float(settings.heartbeat_seconds), self._vitals)
        self._parts = (self._second, dispatching, reaping, watching, bulk, purging, listener, presence)
        for part in self._parts:
            part.start()
        gc.freeze()  # what is loaded stays: looking through it again and again cost a third of planning

    def tick(self) -> None:
        """Wait until something happened, but not for long; then plan what is due."""
        self._awake.wait(self._pause)
        self._awake.clear()
        self._tick_began = time.monotonic()
        self._pause = self._planner.once()
        self.tick_ms = (time.monotonic() - self._tick_began) * 1000
        self._tick_began = None

    def stop(self) -> None:
        """Stop the threads. It may come in the middle of a tick, and more than once."""
        parts, self._parts = self._parts, ()
        self._awake.set()
        for part in parts:
            part.stop()

    def _plan(self) -> float:
        due_in = self._lookout.look()
        if due_in > 0:
            return min(due_in, POLL_SECONDS)
        with system_scope("planner") as session:
            result = plan(session, database_now(session))
        if result.full:
            self._second.wake()
        return 0.0 if result.schedules else ANOTHER_PLANS_SECONDS

    def _plan_along(self) -> float:
        """Plan beside the tick while more is due than a batch: one computes while the database writes for the other."""
        with system_scope("planner") as session:
            result = plan(session, database_now(session))
        return 0.0 if result.full and result.schedules else UNTIL_WOKEN_SECONDS

    def _vitals(self) -> dict[str, Any]:
        began = self._tick_began  # a tick that hangs shows, too
        return {"tick_ms": self.tick_ms if began is None else (time.monotonic() - began) * 1000}
