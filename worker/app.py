"""Make the worker's Celery around the dashboard's application."""

from __future__ import annotations

from typing import cast

from celery.signals import worker_process_init
from flask import Flask

from config.settings import Settings
from worker import attendance, executor
from worker.connecting import PatientAMQP
from worker.consuming import BundledEvents
from worker.context import TenantCelery


def create_celery(flask_app: Flask) -> TenantCelery:
    """Return the Celery that runs tasks inside `flask_app`; it takes the place of the app's sending-only one.

    The tasks of plugins are there already: the application has imported the modules that PLUGINS names.
    """
    settings = cast(Settings, flask_app.extensions["settings"])
    celery = TenantCelery(flask_app, settings, amqp=PatientAMQP, events=BundledEvents)
    celery.set_default()
    flask_app.extensions["celery"] = celery
    worker_process_init.connect(celery.leave_parents_connections)
    executor.init_app(flask_app, settings)
    attendance.install(celery, settings)
    return celery
