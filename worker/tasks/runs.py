"""The task that executes a run of the ledger."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import shared_task
from flask import current_app

from dashboard.core.carriage import GoneActor
from dashboard.core.errors import StationmasterError
from dashboard.core.tenancy import bound
from worker.context import TenantCelery, TenantRequest, TenantTask
from worker.executor import executor_of
from worker.outages import DATABASE_AWAY


class ExecuteRequest(TenantRequest):
    """The message in the worker's main process, which learns there that a child of its pool is gone."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        super().on_failure(exc_info, send_failed_event, return_ok)
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            self._for_the_tenant(self._give_back)

    def _give_back(self) -> None:
        app = cast(TenantCelery, self.app).flask_app
        with app.app_context():
            executor_of(app).give_back(UUID(self.args[0]), self.args[1])


class ExecuteTask(TenantTask):
    """Tells the ledger, too, when an execution ended outside the executor: refused, killed, or failed around it."""

    abstract = True
    Request = ExecuteRequest

    def on_failure(self, exc: Exception, _task_id: str, args: Any, *_: Any) -> None:
        """Called in the child, or in the worker's main process for a child that was killed at its time limit."""
        executor = executor_of(current_app)
        if isinstance(exc, (TimeLimitExceeded, SoftTimeLimitExceeded)):
            executor.time_out(UUID(args[0]), args[1])
        elif not isinstance(exc, (*DATABASE_AWAY, StationmasterError)):
            executor.give_back(UUID(args[0]), args[1])

    def _refuse(self, refusal: StationmasterError) -> None:
        super()._refuse(refusal)
        if isinstance(refusal, GoneActor) and not self.request.called_directly:
            app = self.app.flask_app
            with app.app_context(), bound(self._binding()):
                run_id, fence = self.request.args or ()
                executor_of(app).refuse(UUID(run_id), fence, refusal)


@shared_task(name="runs.execute", base=ExecuteTask)
def execute(run_id: str, fence: int) -> None:
    """Do what the ledger says about this run, if the message is of its latest admission."""
    executor_of(current_app).execute(UUID(run_id), fence)
