"""Tasks that report what they saw; tests load them into real workers as a plugin."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import redis
import sqlalchemy as sa
import structlog
from celery import Task, chord, shared_task
from celery.result import allow_join_result
from flask import Flask, after_this_request, current_app, flash, g, request, session, url_for
from flask.signals import appcontext_tearing_down, request_tearing_down
from flask_login import current_user

from dashboard.core.errors import NoTenant
from dashboard.core.orm import db
from dashboard.core.tenancy import carry, current_binding
from dashboard.runs.models import Run
from worker.context import TenantlessTask

PAGE = UUID(int=7)
Seen = dict[str, Any]

log = structlog.get_logger(__name__)


def seen(note: object = "") -> Seen:
    """Return what code sees here that knows nothing of tenants: links, configuration, who acts, in what language."""
    binding = current_binding()
    return {
        "note": note,
        "tenant": binding.tenant.slug if binding else None,
        "link": url_for("runs.show", run_id=PAGE, _external=True),
        "path": url_for("runs.show", run_id=PAGE),
        "root": request.url_root,
        "sender": current_app.config["MAIL_SENDER"],
        "timezone": current_app.config.get("TIMEZONE"),
        "user": current_user.name,
        "language": request.accept_languages.best,
        "request_id": str(binding.request_id) if binding and binding.request_id else None,
    }


def note_down(name: str, **what: Any) -> None:
    """Append to a list in Valkey, where a test reads it."""
    with broker() as client:
        client.rpush(f"notes:{name}", json.dumps(what))


def broker() -> redis.Redis:
    """Return a client of the broker's server."""
    return redis.Redis.from_url(current_app.extensions["settings"].redis_url.get_secret_value())


def header_of(task: Task[Any, Any]) -> Any:
    return (task.request.headers or {}).get("stationmaster")


@shared_task(name="probe.report", ignore_result=False)
def report(*args: object, **kwargs: object) -> Seen:
    return seen([*args, kwargs] if args or kwargs else "")


@shared_task(name="probe.twice", ignore_result=False)
def twice(pause: float) -> list[Seen]:
    """See before and after a pause, in which other tenants' messages run."""
    before = seen()
    time.sleep(pause)
    return [before, seen()]


@shared_task(name="probe.hold", ignore_result=False)
def hold(gate: str) -> None:
    """Keep a slot until the file is there."""
    note_down("held")
    while not Path(gate).exists():
        time.sleep(0.05)


@shared_task(name="probe.echo", ignore_result=False)
def echo(kind: str) -> Any:
    return {"int": 7, "tuple": (1, 2), "none": None}[kind]


@shared_task(name="probe.collect", ignore_result=False)
def collect(results: list[Any], note: str = "") -> list[Any]:
    """A chord's body: what its header saw, and then what it sees itself."""
    return [*results, seen(note)]


@shared_task(name="probe.continue", ignore_result=False)
def go_on(before: Any) -> list[Any]:
    """A chain's next step."""
    return [*(before if isinstance(before, list) else [before]), seen()]


@shared_task(name="probe.note", ignore_result=False)
def note(name: str, *_: object) -> Seen:
    result = seen()
    note_down(name, **result)
    return result


@shared_task(name="probe.errback_inline", ignore_result=False)
def errback_inline(failed: Any, error: Exception, _traceback: Any) -> None:
    """Celery calls an errback of three arguments where the task failed."""
    note_down("errback", how="inline", error=str(error), **seen())


@shared_task(name="probe.errback_sent", ignore_result=False)
def errback_sent(task_id: str) -> None:
    """Celery sends an errback of one argument as a message."""
    note_down("errback", how="sent", **seen())


@shared_task(name="probe.fail", ignore_result=False)
def fail(name: str) -> None:
    _watch_the_end(name)
    raise RuntimeError("as asked")


@shared_task(name="probe.succeed", ignore_result=False)
def succeed(name: str) -> None:
    _watch_the_end(name)


@shared_task(name="probe.try_again", ignore_result=False, bind=True, max_retries=2, default_retry_delay=0)
def try_again(self: Task[Any, Any], name: str) -> Seen:
    _watch_the_end(name)
    note_down("attempts", header=header_of(self), **seen())
    if self.request.retries < 2:
        raise self.retry()
    return seen()


@shared_task(
    name="probe.autoretry",
    ignore_result=False,
    bind=True,
    autoretry_for=(KeyError,),
    default_retry_delay=0,
    max_retries=1,
)
def autoretry(self: Task[Any, Any]) -> Seen:
    note_down("attempts", header=header_of(self), **seen())
    if self.request.retries == 0:
        raise KeyError
    return seen()


@shared_task(name="probe.replace", ignore_result=False, bind=True)
def replace(self: Task[Any, Any]) -> Any:
    return self.replace(report.s("replaced"))


@shared_task(name="probe.replace_by_canvas", ignore_result=False, bind=True)
def replace_by_canvas(self: Task[Any, Any]) -> Any:
    return self.replace(chord([report.s(1), report.s(2)], collect.s()))


@shared_task(name="probe.parent", ignore_result=False)
def parent() -> list[Any]:
    """Send a child by its name and one by its signature."""
    by_name = current_app.extensions["celery"].send_task("probe.note", ["child"])
    by_signature = note.s("child").apply_async(countdown=0.01)
    return [seen(), by_name.id, by_signature.id]


@shared_task(name="probe.leave_traces", ignore_result=False)
def leave_traces() -> dict[str, Any]:
    """Return what is there of an earlier task, and leave as much as a task can."""
    found = {"g": sorted(g), "session": dict(session), "new": len(db.session.new)}
    g.trace = session["trace"] = current_binding().tenant.slug  # type: ignore[union-attr]
    flash("A trace")
    db.session.add(Run(name="Trace", job_type="test.trace", state="ready"))
    db.session.flush()
    return {**found, "rows": db.session.scalar(sa.select(sa.func.count()).select_from(Run))}


@shared_task(name="probe.wait_for_child", ignore_result=False)
def wait_for_child() -> Any:
    """Wait for another task, which Celery thinks unwise and allows who insists."""
    with allow_join_result():
        return report.delay().get(timeout=60)


@shared_task(name="probe.call_itself", ignore_result=False)
def call_itself(is_inner: bool = False) -> Any:
    """Return what the call within the call finds of the outer one."""
    if is_inner:
        return sorted(g)
    g.mine = "mine"
    return call_itself(True)


@shared_task(name="probe.log", ignore_result=False)
def write_log() -> None:
    log.info("probe_said_something")
    note.delay("child")


@shared_task(name="probe.threads", ignore_result=False)
def threads() -> dict[str, Any]:
    """Look from other threads, with and without the tenant carried into them."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    sessions = {id(db.session())}
    lock = threading.Barrier(2)

    def look(_number: int) -> Seen:
        sessions.add(id(db.session()))
        lock.wait(60)  # both are at work at once
        return seen()

    def look_without() -> str:
        with app.app_context():
            try:
                return str(app.config["MAIL_SENDER"])
            except NoTenant as error:
                return type(error).__name__

    with ThreadPoolExecutor(2) as executor:
        carried = list(executor.map(carry(look), range(2)))
        alone = executor.submit(look_without).result()
    return {"carried": carried, "sessions": len(sessions), "alone": alone, "here": seen()}


@shared_task(name="probe.housekeeping", ignore_result=False, bind=True, base=TenantlessTask)
def housekeeping(self: Task[Any, Any]) -> dict[str, Any]:
    try:
        sender = current_app.config["MAIL_SENDER"]
    except NoTenant as error:
        sender = type(error).__name__
    return {"bound": current_binding() is not None, "sender": sender, "header": header_of(self)}


class Hooked(Task[Any, Any]):
    """Notes down what each lifecycle hook sees."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note_down("hooks", hook="before_start", **seen())

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note_down("hooks", hook="on_success", **seen())

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note_down("hooks", hook="on_failure", error=type(exc).__name__, **seen())

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note_down("hooks", hook="on_retry", **seen())

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note_down("hooks", hook="after_return", **seen())


@shared_task(name="probe.hooked", ignore_result=False, bind=True, base=Hooked, max_retries=1, default_retry_delay=0)
def hooked(self: Task[Any, Any], end: str) -> Seen:
    if end == "retry" and self.request.retries == 0:
        raise self.retry()
    if end == "fail":
        raise RuntimeError("as asked")
    return seen()


@shared_task(name="probe.overrun", ignore_result=False, time_limit=1, base=Hooked)
def overrun() -> None:
    """Be killed by the hard time limit."""
    time.sleep(60)


@shared_task(name="probe.outstay", ignore_result=False, base=Hooked)
def outstay() -> None:
    """Be cancelled by a worker that stops."""
    time.sleep(60)


class Marking(Task[Any, Any]):
    """Puts words into the context, for each line of the log, before the body and after it."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        structlog.contextvars.bind_contextvars(begun_for=request.url_root)

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        structlog.contextvars.bind_contextvars(done_for=request.url_root)


@shared_task(name="probe.tell_marks", ignore_result=False, base=Marking)
def tell_marks() -> dict[str, Any]:
    """Return the words that are there for each line of the log."""
    return structlog.contextvars.get_contextvars()


class BadlyHooked(Task[Any, Any]):
    """Has a hook that fails."""

    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        raise RuntimeError("a hook of a plugin's")


@shared_task(name="probe.fail_badly", ignore_result=False, base=BadlyHooked)
def fail_badly() -> None:
    raise RuntimeError("as asked")


@shared_task(name="probe.overrun_badly", ignore_result=False, time_limit=1, base=BadlyHooked)
def overrun_badly() -> None:
    time.sleep(60)


class Locking(Task[Any, Any]):
    """Needs in its hook the lock that its body holds."""

    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        take_lock()
        note_down("locked", error=type(exc).__name__, **seen())


def take_lock() -> None:
    db.session.execute(sa.text("SELECT pg_advisory_xact_lock(7)"))


@shared_task(name="probe.overrun_with_a_lock", ignore_result=False, time_limit=1, base=Locking)
def overrun_with_a_lock() -> None:
    take_lock()
    time.sleep(60)


@shared_task(name="probe.tell_connection", ignore_result=False)
def tell_connection() -> int:
    """Return the number that the database's server gave this process's connection."""
    return int(db.session.scalar(sa.text("SELECT pg_backend_pid()")) or 0)


@shared_task(name="probe.die", ignore_result=False, base=Hooked)
def die() -> None:
    """Be lost with the worker's child process."""
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="probe.exhaust", ignore_result=False)
def exhaust() -> None:
    raise MemoryError("as if there were none left")


def _watch_the_end(name: str) -> None:
    """Note down each function of Flask's that runs at the end of this task."""
    g.watched = name

    @after_this_request
    def after(response: Any) -> Any:
        note_down(name, what="after_this_request", status=response.status_code, **seen())
        return response


def _note_teardown(what: str) -> Any:
    def note_it(_: Flask, **__: Any) -> None:
        name = g.get("watched")
        if name:
            note_down(name, what=what)

    return note_it


_TEARDOWNS: Iterable[Any] = (_note_teardown("teardown_request"), _note_teardown("teardown_appcontext"))
for _signal, _receiver in zip((request_tearing_down, appcontext_tearing_down), _TEARDOWNS, strict=True):
    _signal.connect(_receiver, weak=False)
