"""Tie a worker's row, and the runs it holds, to the worker's life: it comes, it is asked to leave, it is gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from _thread import start_new_thread
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
import structlog
from celery.apps import worker
from celery.bootsteps import RUN  # type: ignore[attr-defined]
from celery.concurrency import prefork
from celery.platforms import EX_OK
from celery.signals import worker_init, worker_ready, worker_shutting_down
from celery.worker import WorkController, state
from celery.worker.request import Request
from celery.worker.state import active_requests, reserved_requests
from flask import Flask

from config.queues import EXECUTE
from config.settings import Settings
from dashboard.core.orm import system_scope
from dashboard.runs import reaper
from dashboard.runs.models import Run
from dashboard.runs.states import ADMITTED, RUNNING
from worker.context import TenantCelery, TenantRequest
from worker.executor import STOPPED, executor_of
from worker.loops import Loop
from worker.presence import Presence
from worker.publishing import AWAY

IDLE_LOOK_SECONDS = 0.2

LAST_STEP_SECONDS = 1.0
"""How long a job has to stop, in a process that cannot kill it, before the process ends."""

STILL_LISTENS_SECONDS = 3.0
"""How long gevent's loop may listen to the broker on after it was told not to."""

ASKED_TO_STOP = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)

log = structlog.get_logger(__name__)


class Attendance:
    """One worker's: it gives the worker its name, keeps its row, and hands back what it held when it stops."""

    def __init__(self, flask_app: Flask, settings: Settings) -> None:
        self.flask_app = flask_app
        self.settings = settings
        self.is_leaving = False
        self.presence: Presence | None = None
        self.consumer: Any = None

    def begin(self, sender: Any, **_: Any) -> None:
        """Name the worker, before its pool forks: two on one machine may have the same node name."""
        executor_of(self.flask_app).worker = f"{sender.hostname} {os.getpid()}"

    def be_ready(self, sender: Any, **_: Any) -> None:
        """Say that it is there, once it takes messages (and again when the broker came back)."""
        self.consumer = sender
        if self.presence is None:
            name = executor_of(self.flask_app).worker
            every = float(self.settings.heartbeat_seconds)
            self.presence = Presence(self.flask_app, "worker", name, every, lambda: self._vitals(sender.controller))
        self.presence.start()

    def leave(self, **_: Any) -> None:
        """Take no more runs."""
        self.is_leaving = True
        if self.presence is not None:
            self.presence.wake()

    def leave_in_time(self, _number: int, _frame: FrameType | None) -> None:
        """Leave as soon as the last run has ended, at the latest when the soft shutdown's time is over.

        A signal handler for pools whose jobs share the process: it must not wait, because a job, or gevent's loop,
        stands still meanwhile. The second time only Ctrl-C is impatience.
        """
        for number in ASKED_TO_STOP:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)
        state.should_stop = EX_OK  # type: ignore[assignment]
        start_new_thread(self._see_to_the_end, ())

    def _see_to_the_end(self) -> None:
        self.leave()
        if busy := len(_taken()):
            log.info("worker_stops", busy=busy, seconds=self.settings.soft_shutdown_seconds)
        time.sleep(self.settings.soft_shutdown_seconds)
        executor_of(self.flask_app).heartbeat.stop_all()
        time.sleep(LAST_STEP_SECONDS)
        self.end()
        try:
            self._put_back()
        finally:
            os._exit(EX_OK)  # what does not listen cannot be killed otherwise, and goes on elsewhere by now

    def _put_back(self) -> None:
        """Give the broker what was taken and not begun, like a task for later: it would miss it for half a day."""
        if self.consumer is None or self.consumer.task_consumer is None or self._still_listens():
            return
        messages = self.consumer.task_consumer.channel.qos
        with suppress(*AWAY):
            for request in _taken():
                if request in active_requests and not request.task.acks_late:
                    messages.ack(request.message.delivery_tag)  # Celery's own acknowledgement may wait for its loop
            messages.restore_unacked_once()

    def _still_listens(self) -> bool:
        """Wait for gevent's loop to leave the broker alone, and say whether it does not: it would take that, and end.

        Solo's stands still in the job by now, and that of threads was over within a second.
        """
        channel, last = self.consumer.task_consumer.channel, time.monotonic() + STILL_LISTENS_SECONDS
        while self.consumer.pool.is_green and channel._in_poll and self.consumer.blueprint.state == RUN:
            if time.monotonic() > last:
                return True
            time.sleep(IDLE_LOOK_SECONDS)
        return False

    def wait_for_runs(self, taken: Sequence[tuple[UUID, int]], *, forever: bool) -> None:
        """Return once this worker holds no run, or the soft shutdown's time is over; `forever` waits for all of it.

        `taken` are the runs, as (id, fence), whose message it has: the pool may still be about to begin one. Asked is
        the ledger, in a thread: the pool's answers wait for the thread that waits here, and a signal may have come in
        the middle of anything.
        """
        idle = threading.Event()
        asking = Loop("leaving", self.flask_app, lambda: self._notice_idleness(idle, taken))
        seconds = float(self.settings.soft_shutdown_seconds)
        if not forever and seconds:
            asking.start()
        idle.wait(seconds)

    def _notice_idleness(self, idle: threading.Event, taken: Sequence[tuple[UUID, int]]) -> float:
        begun = sa.and_(Run.state == RUNNING, Run.worker == executor_of(self.flask_app).worker)
        about_to = sa.and_(Run.state == ADMITTED, sa.tuple_(Run.id, Run.fence).in_(taken))
        with system_scope("worker stops") as session:
            if session.scalar(sa.select(Run.id).where(begun | about_to).limit(1)) is None:
                idle.set()
        return IDLE_LOOK_SECONDS

    def end(self) -> None:
        """Give back at once what the worker held until its pool was gone."""
        if self.presence is not None:
            self.presence.stop()
        Loop("handing back", self.flask_app, self._hand_back).once()

    def _hand_back(self) -> float:
        with system_scope("worker stopped") as session:
            moves = reaper.release_all(session, executor_of(self.flask_app).worker, STOPPED)
        for move in moves:
            log.warning("run_handed_back", run_id=str(move.run_id), new=move.new)
        return 0

    def _vitals(self, controller: Any) -> Mapping[str, Any]:
        return {
            "slots": 0 if self.is_leaving else controller.pool.num_processes,
            "busy": len(active_requests),
            "queues": list(controller.app.amqp.queues.consume_from),
        }


class Worker(worker.Worker):
    """Celery's worker, which says that it leaves before the soft shutdown, and does not wait longer than its runs do.

    Celery's own sleeps its whole time if anything is at work when it begins.
    """

    def install_platform_tweaks(self, worker: WorkController) -> None:
        super().install_platform_tweaks(worker)
        if not issubclass(cast(Any, self).pool_cls, prefork.TaskPool):
            for number in ASKED_TO_STOP:
                signal.signal(number, self._attendance.leave_in_time)

    def on_stopped(self) -> None:
        """Called once the pool has stopped: a bootstep of our own would stop before it after every other start."""
        self._attendance.end()
        super().on_stopped()

    @property
    def _attendance(self) -> Attendance:
        return attendance_of(cast(TenantCelery, self.app).flask_app)

    def wait_for_soft_shutdown(self) -> bool:
        # Heroku tells every process to stop, and so does whoever watches this one: the second time is no impatience,
        # which Celery would take it for, and cut the runs off. Ctrl-C still is.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        attendance = self._attendance
        attendance.leave()
        taken = _taken()
        if taken:
            log.info("worker_stops", busy=len(taken), seconds=attendance.settings.soft_shutdown_seconds)
            runs = [(UUID(each.args[0]), int(each.args[1])) for each in taken if each.task.name == EXECUTE]
            attendance.wait_for_runs(runs, forever=len(runs) < len(taken))
            self._end_what_began_unseen()
        return True

    def _end_what_began_unseen(self) -> None:
        """Celery cancels what it knows to be at work; of what its pool began last it hears only after this wait."""
        for request in _taken():
            if request not in active_requests:
                cast(TenantRequest, request).cancel_once_begun(cast(Any, self).consumer.pool)


def _taken() -> list[Request]:
    """Return all that this worker has taken from the broker, whether the pool has begun it or not."""
    while True:
        with suppress(RuntimeError):  # another thread ended one meanwhile
            return list(reserved_requests)


def install(celery: TenantCelery, settings: Settings) -> None:
    """Let the worker that `celery` becomes keep its attendance."""
    attendance = Attendance(celery.flask_app, settings)
    celery.flask_app.extensions["attendance"] = attendance
    worker_init.connect(attendance.begin, weak=False)
    worker_ready.connect(attendance.be_ready, weak=False)
    worker_shutting_down.connect(attendance.leave, weak=False)
    celery.Worker = celery.subclass_with_self(Worker)  # type: ignore[misc]


def attendance_of(app: Flask) -> Attendance:
    """Return the attendance of this process's worker."""
    return cast(Attendance, app.extensions["attendance"])
