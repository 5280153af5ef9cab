"""Kills what sends mail at instants of chance, and counts what arrived; the mail server is the witness."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sized
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.emails.models import Delivery
from dashboard.emails.states import SENT, UNCERTAIN
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES
from tests.chaos.site import PLUGINS, Site
from tests.factories.ledger import enqueue_runs
from tests.factories.mailings import mail_params
from tests.processes import RunningProcess, beat_process, wait_until, worker_process
from tests.smtp import MailServerForTests, mail_server

PATIENCE_SECONDS = 60.0
"""How long nothing may end before what has not ended counts as lost."""

SENDERS = 2
"""Processes of each worker: so many mailings go on at once in it."""

MAILS_A_RUN = 40

WHOLE_WORKER = 0.04
"""How often a worker dies with all its children; else it is one child."""

LONGEST_PAUSE_SECONDS = 0.05
"""How long after a mail arrived something dies at most: in that time another one leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailReport:
    """What a storm left: `kills` are sending processes. A mail is lost that did not arrive and is not listed either."""

    kills: int
    mails: int
    sent: int
    uncertain: int
    lost: int
    doubled: int

    @property
    def is_sound(self) -> bool:
        return not (self.lost or self.doubled) and self.uncertain <= self.kills


class MailStorm:
    """A beat and two workers that send two tenants' mailings, and die."""

    def __init__(self, site: Site, chance: random.Random, plugins: tuple[str, ...] = ()) -> None:
        self.site = site
        self.chance = chance
        self.plugins = (*PLUGINS, *plugins)
        self.workers: list[RunningProcess] = []
        self.tenants: list[Tenant] = []
        self.wanted: list[UUID] = []
        self.killed = 0

    def blow(self, kills: int, minutes: float = math.inf, answers_after: float = 0.01) -> MailReport:
        """Kill `kills` processes while there is always something to send; return what became of the mails.

        For `answers_after` seconds nobody but the mail server knows that it has a mail.
        """
        end = time.monotonic() + 60 * minutes
        with mail_server() as server:
            server.answers_after = answers_after
            settings = server.settings(MAIL_SENDER="Station <station@example.com>")
            self.tenants = [self.site.tenant(name, **settings) for name in ("acme", "globex")]
            self.site.stack.enter_context(beat_process(self.site.environment, plugins=self.plugins))
            while self.killed < kills and time.monotonic() < end:
                self._start()
                self._keep_busy()
                wait_until(partial(_has_grown, server.mails, len(server.mails)), PATIENCE_SECONDS, self.said)
                time.sleep(self.chance.uniform(0, LONGEST_PAUSE_SECONDS))  # the instant is what chance is for
                self._kill()
            self._start()
            return self._report(server)

    def said(self) -> str:
        """Return what the workers said last."""
        return "\n".join(worker.output()[-5000:] for worker in self.workers)

    def _start(self) -> None:
        environment = self.site.environment
        while len(self.workers) < 2:
            process = worker_process(environment, plugins=self.plugins, concurrency=SENDERS, ready="")
            self.workers.append(self.site.stack.enter_context(process))
        self.workers[0].wait_for("ready.")

    def _keep_busy(self) -> None:
        """Let no process wait for a mailing."""
        for tenant in self.tenants:
            for _ in range(self._active(tenant), 2 * SENDERS):
                number = len(self.wanted)
                params = mail_params(*(f"r{number}-{each}@example.com" for each in range(MAILS_A_RUN)))
                fields: dict[str, Any] = {
                    "job_type": "email.message",
                    "queue": "email",
                    "idempotent": True,
                    "max_attempts": 1000,
                }
                self.wanted += enqueue_runs(self.site.app, tenant, **fields, params=params)

    def _kill(self) -> None:
        worker = self.chance.choice(self.workers)
        children = worker.children()
        if self.chance.random() < WHOLE_WORKER:
            self.workers.remove(worker)
            worker.kill_group()
            self.killed += max(1, len(children))
        elif children:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(children), signal.SIGKILL)
                self.killed += 1

    def _active(self, tenant: Tenant | None = None) -> int:
        query = sa.select(sa.func.count()).where(Run.id.in_(self.wanted), Run.state.in_(ACTIVE_STATES))
        if tenant is not None:
            query = query.where(Run.tenant_id == tenant.id)
        with self.site.app.app_context(), system_scope("test") as session:
            return session.scalar(query) or 0

    def _report(self, server: MailServerForTests) -> MailReport:
        with suppress(AssertionError):  # what never ends is counted as lost
            while left := self._active():
                wait_until(partial(self._has_shrunk, left), PATIENCE_SECONDS)
        with self.site.app.app_context(), system_scope("test") as session:
            written = sa.select(Delivery.address, Delivery.state).where(Delivery.run_id.in_(self.wanted))
            states: dict[str, str] = dict(session.execute(written).all())
            (mails,) = session.execute(_WANTED.where(Run.id.in_(self.wanted))).one()
        arrived = Counter(server.recipients())
        kept = sum(state == UNCERTAIN or (state == SENT and address in arrived) for address, state in states.items())
        return MailReport(
            kills=self.killed,
            mails=mails,
            sent=sum(state == SENT for state in states.values()),
            uncertain=sum(state == UNCERTAIN for state in states.values()),
            lost=mails - kept,
            doubled=sum(count > 1 for count in arrived.values()),
        )

    def _has_shrunk(self, left: int) -> bool:
        return self._active() < left


def _has_grown(mails: Sized, length: int) -> bool:
    return len(mails) > length


_WANTED = sa.select(sa.func.coalesce(sa.func.sum(sa.func.jsonb_array_length(Run.params["to"])), 0))
