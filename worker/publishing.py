"""Send the messages of admitted runs: hints to the workers, each with the context its run will have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import structlog
from kombu import Connection, Producer
from kombu.common import ignore_errors

from dashboard.core.carriage import HEADER, pack
from dashboard.core.tenancy import Actor, ActorKind, Binding, resolver_of
from dashboard.runs.dispatcher import Admitted
from worker.context import TenantCelery
from worker.heartbeat import HARD_LIMIT_AFTER
from worker.outages import BROKER_AWAY, first_line

TASK = "runs.execute"

log = structlog.get_logger(__name__)


class BrokerAway(Exception):
    """The broker does not take messages."""


class Publisher:
    """Publishes over a connection of its own, so that nobody who plans ever waits for the broker."""

    def __init__(self, celery: TenantCelery) -> None:
        self.celery = celery
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def connect(self) -> None:
        """Be connected. Raises BrokerAway, after one try."""
        if self._producer is not None:
            return
        connection = self.celery.connection_for_write()
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0, timeout=3)
            self._producer = self.celery.amqp.Producer(connection, auto_declare=False)
            self._connection = connection
        except BROKER_AWAY as error:
            connection.release()
            raise BrokerAway(first_line(error)) from error

    def publish(self, runs: Sequence[Admitted]) -> list[Admitted]:
        """Send what the broker takes, and return the rest."""
        for sent, run in enumerate(runs):
            try:
                self._send(run)
            except BROKER_AWAY as error:
                log.warning("broker_is_away", unsent=len(runs) - sent, reason=first_line(error))
                self.close()
                return list(runs[sent:])
        return []

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            ignore_errors(connection, connection.release)

    def _send(self, run: Admitted) -> None:
        binding = self._binding(run)
        if binding is None:
            log.warning("tenant_is_gone", run_id=str(run.id), tenant_id=str(run.tenant_id))
            return
        self.celery.send_task(
            TASK,
            args=[str(run.id), run.fence],
            task_id=f"{run.id}.{run.fence}",
            producer=self._producer,
            queue=run.queue,
            headers={HEADER: pack(binding, self.celery.header_key)},
            soft_time_limit=run.timeout_seconds,
            time_limit=run.timeout_seconds + int(HARD_LIMIT_AFTER.total_seconds()),
            shadow=run.job_type,
            ignore_result=True,
            retry=False,
        )

    def _binding(self, run: Admitted) -> Binding | None:
        tenant = resolver_of(self.celery.flask_app).by_id(run.tenant_id)
        if tenant is None:
            return None
        return Binding.of(
            tenant,
            run.context_root_id,
            actor=Actor(kind=cast(ActorKind, run.actor_kind), id=run.actor_id),
            locale=run.context_locale,
            request_id=run.context_request_id,
        )
