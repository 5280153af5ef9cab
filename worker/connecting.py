"""Try the broker again every few seconds, however long it has been away: Celery's own pause grows to half a minute."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection

LONGEST_PAUSE_SECONDS = 4


class PatientConnection(Connection):
    """A connection whose pause between two tries stays short."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": LONGEST_PAUSE_SECONDS, **options})


class PatientAMQP(AMQP):
    """Celery's messaging over patient connections."""

    Connection = PatientConnection
    BrokerConnection = PatientConnection
