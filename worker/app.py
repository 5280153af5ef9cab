"""Make the worker's Celery around the dashboard's application."""

from __future__ import annotations

import importlib
from typing import Any, cast

from celery.signals import worker_process_init
from flask import Flask

from config.settings import Settings
from dashboard.extensions import db
from worker.context import TenantCelery


def create_celery(flask_app: Flask) -> TenantCelery:
    """Return the Celery that runs tasks inside `flask_app`; it takes the place of the app's sending-only one."""
    settings = cast(Settings, flask_app.extensions["settings"])
    celery = TenantCelery(flask_app, settings)
    celery.set_default()
    flask_app.extensions["celery"] = celery
    for module in settings.plugins:
        importlib.import_module(module)

    def leave_parents_connections(**_: Any) -> None:
        """Forget the connections that a forked child shares with its parent, without closing them."""
        with flask_app.app_context():
            for engine in db.engines.values():
                engine.dispose(close=False)

    worker_process_init.connect(leave_parents_connections, weak=False)
    return celery
