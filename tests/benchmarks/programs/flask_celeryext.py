"""Flask-CeleryExt, with its task class that opens a test request around each task."""

from __future__ import annotations

from flask import Flask
from flask_celeryext import RequestContextTask, create_celery_app

from tests.benchmarks.programs.celery_workshop import compete, register

MODULE = "tests.benchmarks.programs.flask_celeryext"

app = create_celery_app(Flask("bench"))
app.Task = RequestContextTask
register(app)

if __name__ == "__main__":
    compete(MODULE, app)
