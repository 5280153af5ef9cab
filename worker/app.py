"""Make the worker's Celery around the dashboard's application."""

from __future__ import annotations

import warnings
from typing import cast

from celery import Celery
from celery.exceptions import DuplicateTaskNameWarning  # type: ignore[attr-defined]
from celery.signals import worker_process_init
from flask import Flask

from config.settings import Settings
from dashboard.jobs.registry import BadJobType
from worker import attendance, executor
from worker.connecting import PatientAMQP
from worker.consuming import BundledEvents
from worker.context import TenantCelery


def create_celery(flask_app: Flask) -> TenantCelery:
    """Return the Celery that runs tasks inside `flask_app`; it takes the place of the app's sending-only one.

    The tasks of plugins are there already: the application has imported the modules that PLUGINS names. Raises
    BadJobType for tasks that share a name.
    """
    settings = cast(Settings, flask_app.extensions["settings"])
    celery = TenantCelery(flask_app, settings, amqp=PatientAMQP, events=BundledEvents)
    celery.set_default()
    _refuse_namesakes(celery)
    flask_app.extensions["celery"] = celery
    worker_process_init.connect(celery.leave_parents_connections)
    executor.init_app(flask_app, settings)
    attendance.install(celery, settings)
    return celery


def _refuse_namesakes(celery: Celery) -> None:
    """Make the tasks. Raises BadJobType if two have one name: which of them a message reaches would be chance."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DuplicateTaskNameWarning)
        try:
            celery.finalize()
        except DuplicateTaskNameWarning as warning:
            what, which, *_ = str(warning).split("\n\n")
            raise BadJobType(f"{what} {', '.join(which.split())}. Give one of them another name.") from None
