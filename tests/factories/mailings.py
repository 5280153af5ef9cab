"""Makes runs that send mail, and says what became of each recipient's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask, current_app

from dashboard.core.orm import system_scope
from dashboard.core.tenancy import SYSTEM, Binding, Tenant, bound
from dashboard.emails.message import EmailMessage
from dashboard.emails.models import Delivery
from dashboard.jobs import params as job_params
from dashboard.jobs.context import LogLevel, RunContext
from dashboard.jobs.outcomes import Result
from dashboard.runs.models import Run
from tests.factories.runs import make_run

BODY = "Hello {{ recipient.address }}, **{{ schedule.name }}** is done."


@dataclass(slots=True)
class Said:
    """A reporter that keeps what a job says; it stops the job after so many recipients."""

    lines: list[str] = field(default_factory=list)
    progress_made: list[tuple[int, int | None]] = field(default_factory=list)
    stop_after: int | None = None

    def log(self, level: LogLevel, text: str) -> None:
        self.lines.append(f"{level}: {text}")

    def progress(self, done: int, total: int | None, note: str) -> None:
        self.progress_made.append((done, total))

    def artifact(self, name: str, media_type: str) -> SpooledTemporaryFile[bytes]:
        raise NotImplementedError

    def children(self, job_type: str, params_list: Sequence[Mapping[str, Any]]) -> list[UUID]:
        raise NotImplementedError

    def should_stop(self) -> bool:
        return self.stop_after is not None and len(self.progress_made) > self.stop_after


def mail_params(*to: str, **changes: Any) -> dict[str, Any]:
    """Return the parameters of `email.message` as an API sends them."""
    return {"to": list(to) or ["olivia@acme.example"], "subject": "Report", "body": BODY, **changes}


def make_mail_run(app: Flask, tenant: Tenant, *to: str, name: str = "Weekly report", **changes: Any) -> Run:
    """Return a run of `email.message` that a worker holds."""
    return make_run(
        app,
        tenant,
        "running",
        name=name,
        job_type=EmailMessage.key,
        params=mail_params(*to, **changes),
        queue="email",
        idempotent=True,
        max_attempts=3,
        fence=1,
    )


def perform(app: Flask, tenant: Tenant, run: Run, said: Said | None = None) -> Result:
    """Do the run's work here, in the tenant's context, as its worker would; raises what the job raises."""
    with acting(app, tenant):
        params: Any = job_params.validate(EmailMessage.Params, run.params)
        return EmailMessage().run(context_of(tenant, run, said or Said()), params)


@contextmanager
def acting(app: Flask, tenant: Tenant) -> Iterator[None]:
    """A tenant's context, as a worker has it."""
    with bound(Binding.of(tenant)), app.app_context():
        yield


def context_of(tenant: Tenant, run: Run, said: Said) -> RunContext:
    return RunContext(
        tenant=tenant,
        config=current_app.config,
        actor=SYSTEM,
        run_id=run.id,
        name=run.name,
        fence=run.fence,
        attempt=run.attempt,
        reporter=said,
    )


def deliveries_of(app: Flask, run_id: UUID) -> dict[str, Delivery]:
    """Return the run's deliveries by address."""
    with app.app_context(), system_scope("test") as session:
        rows = session.scalars(sa.select(Delivery).where(Delivery.run_id == run_id).order_by(Delivery.id)).all()
    return {row.address: row for row in rows}


def states_of_mails(app: Flask, run_id: UUID) -> dict[str, str]:
    return {address: row.state for address, row in deliveries_of(app, run_id).items()}
