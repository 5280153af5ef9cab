"""The pattern of Flask's own documentation: each task inside an application context (patterns/celery)."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task
from flask import Flask

from tests.benchmarks.programs.celery_workshop import compete, register

MODULE = "tests.benchmarks.programs.flask_docs"


def celery_init_app(flask_app: Flask) -> Celery:
    """Return the app's Celery, as the documentation shows it."""

    class FlaskTask(Task[Any, Any]):
        """A task inside the application's context."""

        def __call__(self, *args: object, **kwargs: object) -> object:
            with flask_app.app_context():
                return self.run(*args, **kwargs)

    celery_app: Celery = Celery(flask_app.name, task_cls=FlaskTask)
    celery_app.config_from_object(flask_app.config["CELERY"])
    celery_app.set_default()
    flask_app.extensions["celery"] = celery_app
    return celery_app


flask_app = Flask("bench")
flask_app.config["CELERY"] = {"task_ignore_result": False}
app = celery_init_app(flask_app)
register(app)

if __name__ == "__main__":
    compete(MODULE, app)
