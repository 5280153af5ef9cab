"""Rebuild a tenant's context around each task: the two roads in.

A message brings its context in one signed header (`dashboard.core.carriage`), written at the two roads out:
`Celery.send_task` (`dashboard.core.sending`) and `Task.apply` here. It is read at `Task.__call__`, in the lifecycle
hooks, and in the consumer's `Request`. Never in signals: Celery swallows their exceptions, so they would fail open.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import Context, copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, cast

import flask
import structlog
from celery import Task
from celery._state import get_current_task
from celery.exceptions import Ignore, Reject, Retry, TimeLimitExceeded
from celery.worker.request import Request
from flask.sessions import SessionMixin
from flask_login import current_user

from config.settings import Settings
from dashboard.core.carriage import HEADER, BadHeader, GoneActor, GoneTenant, unpack
from dashboard.core.errors import NoTenant, StationmasterError
from dashboard.core.mounting import REQUEST_ID, TASK, TASK_ID
from dashboard.core.sending import CELERY_OWN, SendingCelery
from dashboard.core.tenancy import CONTEXTS_ARE_ONE, DEFAULT_PORTS, Binding, bound, current_binding
from dashboard.core.trips import trips_of
from dashboard.database import db
from worker.exits import EXITS, TaskExited, process_ends

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = structlog.get_logger(__name__)

HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
GUARDED = frozenset({"on_failure", "on_retry"})
"""Celery does not expect these to fail: it would call them again, and on some pools end the worker."""


class CarriedSession(dict[str, Any], SessionMixin):
    """A task's own session: empty, writable, neither opened from a store nor saved to one."""

    modified = False


class TenantRequest(Request):
    """A message as the worker's main process sees it: time limits and lost workers call hooks and errbacks there.

    Nothing here raises: an exception in the consumer would end the worker, for all tenants.
    """

    _ending_pool: Any = None

    def on_timeout(self, soft: bool, timeout: float) -> None:
        self._for_the_tenant(super().on_timeout, soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        if isinstance(getattr(exc_info.exception, "exc", None), TimeLimitExceeded):
            self._end_child()
        self._for_the_tenant(super().on_failure, exc_info, send_failed_event, return_ok)

    def on_accepted(self, pid: Any, time_accepted: Any) -> None:
        super().on_accepted(pid, time_accepted)
        if self._ending_pool is not None:
            self.cancel(self._ending_pool)

    def cancel_once_begun(self, pool: Any) -> None:
        """Cancel it as soon as a process of the pool is known to have begun it, which Celery forgets."""
        self._ending_pool = pool

    def _end_child(self) -> None:
        """Kill the child that overran its hard limit at once: errbacks and hooks would wait here for its row locks."""
        if self.worker_pid:
            with suppress(ProcessLookupError):
                os.kill(int(self.worker_pid), signal.SIGKILL)

    def _announce_revoked(self, *args: Any) -> None:
        self._for_the_tenant(super()._announce_revoked, *args)  # type: ignore[misc]

    def _announce_cancelled(self, *args: Any, **options: Any) -> None:
        self._for_the_tenant(super()._announce_cancelled, *args, **options)  # type: ignore[misc]

    def _for_the_tenant(self, method: Callable[..., Any], *args: Any, **options: Any) -> None:
        try:
            with bound(self._binding()):
                method(*args, **options)
        except Exception:
            log.exception("consumer_failed", task=self.name, task_id=self.id)

    def _binding(self) -> Binding | None:
        """Return what the message brings, or None: what Celery does here for its own books has to be done anyway."""
        try:
            return cast(TenantCelery, self.app).binding_in(self.request_dict)
        except StationmasterError:
            return None
        except Exception:
            log.exception("tenant_lookup_failed", task=self.name, task_id=self.id)
            return None


class TenantTask(Task[Any, Any]):
    """A task that runs in the context its message brings: the tenant bound, a request at the tenant's root open.

    It is refused where no tenant is known.
    """

    abstract = True
    tenantless: ClassVar[bool] = False
    Request = TenantRequest  # type: ignore[assignment]
    throws = (BadHeader, GoneTenant, GoneActor)

    app: TenantCelery

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in HOOKS:  # Celery calls them before and after __call__
            hook = getattr(cls, name)
            if hook is not getattr(Task, name) and not hasattr(hook, "in_context"):
                in_context = _in_context(hook)
                setattr(cls, name, _guarded(in_context) if name in GUARDED else in_context)

    def apply(self, args: Any = None, kwargs: Any = None, *positional: Any, **options: Any) -> Any:
        options["headers"] = self.app.with_context(options.get("headers"), self.name, self.tenantless)
        return super().apply(args, kwargs, *positional, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        message: Any = self.request
        is_plain_call = message.called_directly or message._protected
        if is_plain_call and flask.has_app_context():
            if not self._may_do_without_tenant and current_binding() is None:
                raise NoTenant(f"{self.name} was called with no tenant bound.")
            return super().__call__(*args, **kwargs)
        context = copy_context() if is_plain_call else self._own_context()
        return context.run(self._in_own_context, is_plain_call, *args, **kwargs)

    def _own_context(self) -> Context:
        """Return the context variables of the message's body and hooks.

        What they set, like a word for each line of the log, must not be there for the next tenant's.
        """
        message: Any = self.request
        if message.called_directly:  # not of one message: a hook in the worker's main process
            return copy_context()
        if not hasattr(message, "own_context"):
            message.own_context = copy_context()
        return cast(Context, message.own_context)

    def _in_own_context(self, is_plain_call: bool, /, *args: Any, **kwargs: Any) -> Any:
        message: Any = self.request
        with ExitStack() as stack:
            self._enter_context(stack)
            if is_plain_call:  # an errback: the worker calls it inline, outside every context
                return super().__call__(*args, **kwargs)
            message._protected = 1  # as Celery marks a message whose body has begun
            try:
                return self.run(*args, **kwargs)
            except EXITS as error:  # Celery would lose count of its messages, or end with it
                if process_ends(error):
                    raise
                raise TaskExited(repr(error)) from error

    @property
    def _may_do_without_tenant(self) -> bool:
        return self.tenantless or self.name in CELERY_OWN

    def _enter_context(self, stack: ExitStack) -> None:
        """Enter what the message brings. Raises what refuses it, after a line in the log."""
        app = self.app.flask_app
        try:
            binding = self._binding()
            context = app.app_context() if binding is None else rebuilt(app, binding, self.name, self.request.id)
            stack.enter_context(context)
        except StationmasterError as refusal:
            self._refuse(refusal)
            raise

    def _binding(self) -> Binding | None:
        """Return what the message brings; a call without a message takes what is bound, or the running task's."""
        if self.tenantless:
            return None
        message = self.request
        if not message.called_directly:
            binding = self.app.binding_in(message.headers)
            if binding is None and not self._may_do_without_tenant:
                raise BadHeader
        else:
            binding = current_binding()
            running = get_current_task()
            if binding is None and running is not None:
                binding = self.app.binding_in(running.request.headers)
        if binding is None and not self._may_do_without_tenant:
            raise NoTenant(f"{self.name} was called with no tenant bound.")
        return binding

    def _refuse(self, refusal: StationmasterError) -> None:
        """Log it, and let the message start nothing: what it would publish could bring no tenant either."""
        message: Any = self.request
        if getattr(message, "is_refused", False):  # by its before_start, a moment ago
            return
        log.warning("message_refused", task=self.name, task_id=message.id, reason=str(refusal))
        if not message.called_directly:
            message.callbacks = message.errbacks = message.chain = message.chord = None
            message.is_refused = True  # so that nothing of it runs, nor refuses it once more


class TenantlessTask(TenantTask):
    """A task for housekeeping (`base=TenantlessTask`): it never gets a tenant, only the application's context."""

    abstract = True
    tenantless = True


class TenantCelery(SendingCelery):
    """The worker's Celery: its tasks run inside `flask_app`, each in the context of its message's tenant."""

    task_cls = TenantTask  # type: ignore[assignment]

    def __init__(self, flask_app: flask.Flask, settings: Settings, **options: Any) -> None:
        super().__init__(settings, **options)
        self.flask_app = flask_app

    def _task_from_fun(  # type: ignore[override]
        self, fun: Any, name: Any = None, base: Any = None, bind: bool = False, **options: Any
    ) -> Any:
        """Make a task of a function; one with a base class of its own gets the context all the same."""
        if base is not None and not issubclass(base, TenantTask):
            base = type(base.__name__, (base, self.Task), {"abstract": True})
        return super()._task_from_fun(fun, name, base, bind, **options)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a task that is a class. Raises TypeError for one that would run without the context."""
        task = task() if isinstance(task, type) else task
        if not isinstance(task, TenantTask):
            raise TypeError(f"{task!r} must be a TenantTask, or its messages would run without their context.")
        return super().register_task(task, **options)

    def leave_parents_connections(self, **_: Any) -> None:
        """Forget, without closing them, the database connections that a forked child shares with its parent."""
        with self.flask_app.app_context():
            for engine in db.engines.values():
                engine.dispose(close=False)
        trips_of(self.flask_app).dispose(close=False)

    def binding_in(self, headers: Any) -> Binding | None:
        """Return what a message's headers bind, None where they have no header of ours.

        Raises BadHeader or GoneTenant for one that binds nothing.
        """
        value = (headers or {}).get(HEADER)
        return None if value is None else unpack(self.flask_app, value, self.header_key)


def _in_context(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return the hook as it runs for the message's tenant; it is left out for a message that was refused."""

    @wraps(hook)
    def in_context(self: TenantTask, *args: Any, **kwargs: Any) -> Any:
        if flask.has_request_context() and flask.request.environ.get(TASK_ID, ...) == self.request.id:
            return hook(self, *args, **kwargs)
        if getattr(self.request, "is_refused", False):
            return None
        return self._own_context().run(in_new_request, self, *args, **kwargs)

    def in_new_request(self: TenantTask, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            try:
                self._enter_context(stack)
            except StationmasterError:
                return None
            return hook(self, *args, **kwargs)

    in_context.in_context = True  # type: ignore[attr-defined]
    return in_context


def _guarded(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return the hook so that its failure is a line in the log."""

    @wraps(hook)
    def guarded(self: TenantTask, error: Exception, task_id: str, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, error, task_id, *args, **kwargs)
        except Exception:
            log.exception("hook_failed", task=self.name, task_id=task_id, hook=hook.__name__)

    return guarded


@contextmanager
def rebuilt(app: flask.Flask, binding: Binding, task: str, task_id: str | None) -> Iterator[None]:
    """Bind the tenant and open a request of its own at its root, whatever is active outside.

    At the end after_request and teardown functions run, once, on an empty response: 200, 202 for a retry, 500.
    Raises GoneActor where a person asked for the task who may no longer act in the tenant.
    """
    with bound(binding), _own_app_context(app), _request(app, _environ(binding, task, task_id)) as request:
        if binding.actor.kind == "user" and not current_user.is_authenticated:
            raise GoneActor
        try:
            yield
        except BaseException as error:
            _respond_to_failure(app, request, error)
            raise
        _respond(app, request, 200)


def _request(app: flask.Flask, environ: WSGIEnvironment) -> Any:
    request = app.request_context(environ)
    request._session = CarriedSession()
    return request


def _own_app_context(app: flask.Flask) -> AbstractContextManager[Any]:
    """Return what gives the request `g` and `db.session` of its own: without it a live request's would be shared."""
    return nullcontext() if CONTEXTS_ARE_ONE else app.app_context()


def _respond_to_failure(app: flask.Flask, request: Any, error: BaseException) -> None:
    """Run the after_request functions; a failure of theirs must not hide the task's own."""
    try:
        _respond(app, request, 202 if isinstance(error, (Retry, Ignore, Reject)) else 500)
    except Exception:
        log.exception("after_request_failed")


def _respond(app: flask.Flask, request: Any, status: int) -> None:
    response = app.response_class(status=status)
    if CONTEXTS_ARE_ONE:
        app.process_response(request, response)  # type: ignore[call-arg]
    else:
        app.process_response(response)


def _environ(binding: Binding, task: str, task_id: str | None) -> WSGIEnvironment:
    """Return what a WSGI server would say of a GET of the root's first page."""
    root = binding.root
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": root.prefix,
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": root.host,
        "SERVER_PORT": str(root.port or DEFAULT_PORTS[root.scheme]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": root.netloc,
        "REMOTE_ADDR": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": root.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        REQUEST_ID: binding.request_id,
        TASK: task,
        TASK_ID: task_id,
    }
    if binding.locale:
        environ["HTTP_ACCEPT_LANGUAGE"] = binding.locale
    return environ
