"""Connect to the broker: over channels that know hints, and again every few seconds however long it has been away."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection
from kombu.transport import redis

from worker.hints import HintTransport

LONGEST_PAUSE_SECONDS = 4
"""How long it rests between two tries at most; Celery's own pause grows to half a minute."""


class PatientConnection(Connection):
    """A connection whose pause between two tries stays short."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": LONGEST_PAUSE_SECONDS, **options})

    def get_transport_cls(self) -> Any:
        transport = super().get_transport_cls()
        return HintTransport if transport is redis.Transport else transport


class PatientAMQP(AMQP):
    """Celery's messaging over patient connections."""

    Connection = PatientConnection
    BrokerConnection = PatientConnection
