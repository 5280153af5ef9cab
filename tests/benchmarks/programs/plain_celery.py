"""Celery alone: no application around its tasks, and results or events only where the variant names them."""

from __future__ import annotations

from celery import Celery

from tests.benchmarks.programs.celery_workshop import compete, register

MODULE = "tests.benchmarks.programs.plain_celery"

app = Celery("bench", set_as_current=True)
register(app)

if __name__ == "__main__":
    compete(MODULE, app)
